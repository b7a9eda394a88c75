//! From path, host or header to a tenant's slug: pure, and the order is the law.
//!
//! Path prefix `/t/{slug}`, else the `Host` among the tenants' domains, else the `X-Tenant`
//! header *from a trusted proxy only*, else the configured default. On a tenant's own domain the
//! path of another tenant does not exist.

use super::TenantContext;
use super::directory::Directory;

/// What a request says about its tenant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claim<'a> {
    /// From `/t/{slug}`.
    pub path: Option<&'a str>,
    /// The `Host` header or `:authority`, without its port.
    pub host: Option<&'a str>,
    /// The `X-Tenant` header, if a trusted proxy sent it.
    pub header: Option<&'a str>,
}

impl Directory {
    /// The tenant a request belongs to, or `None`: it is nobody's.
    #[must_use]
    pub fn resolve(&self, claim: &Claim<'_>) -> Option<&TenantContext> {
        let at_home = claim.host.and_then(|host| self.by_host(host));
        match (claim.path, at_home) {
            (Some(slug), Some(home)) => (**home.slug() == *slug).then_some(home),
            (Some(slug), None) => self.by_slug(slug),
            (None, Some(home)) => Some(home),
            (None, None) => match claim.header {
                Some(slug) => self.by_slug(slug),
                None => self.default_tenant(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::TenantId;
    use crate::domain::policy::Profile;
    use crate::domain::settings::Settings;
    use crate::domain::time::Timestamp;
    use crate::storage::Tenant;

    fn tenant(n: u8, slug: &str, domains: &[&str]) -> Tenant {
        Tenant {
            id: TenantId::random([n; 16]),
            slug: slug.to_owned(),
            name: slug.to_owned(),
            profile: Profile::Classic,
            settings: Settings::default(),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            apps: Vec::new(),
            version: 1,
            created_at: Timestamp::default(),
        }
    }

    #[test]
    fn every_way_of_naming_a_tenant_and_their_order() {
        let tenants = vec![tenant(1, "default", &[]), tenant(2, "acme", &["auth.acme.test"]), tenant(3, "other", &[])];
        let directory = Directory::new(tenants, Some("default"), "https://id.test");
        let acme_domain = Some("AUTH.acme.test.");
        let cases = [
            (Claim::default(), Some("default")),
            (Claim { path: Some("acme"), ..Claim::default() }, Some("acme")),
            (Claim { path: Some("nobody"), ..Claim::default() }, None),
            (Claim { host: acme_domain, ..Claim::default() }, Some("acme")),
            (Claim { host: acme_domain, header: Some("other"), ..Claim::default() }, Some("acme")),
            (Claim { host: acme_domain, path: Some("acme"), ..Claim::default() }, Some("acme")),
            (Claim { host: acme_domain, path: Some("other"), ..Claim::default() }, None),
            (Claim { host: Some("id.test"), header: Some("other"), ..Claim::default() }, Some("other")),
            (Claim { header: Some("nobody"), ..Claim::default() }, None),
            (Claim { path: Some("acme"), header: Some("other"), ..Claim::default() }, Some("acme")),
        ];
        for (claim, expected) in cases {
            let resolved = directory.resolve(&claim).map(|tenant| tenant.slug().to_string());
            assert_eq!(resolved.as_deref(), expected, "{claim:?}");
        }
    }

    #[test]
    fn without_a_default_a_bare_request_is_nobodys() {
        let directory = Directory::new(vec![tenant(1, "default", &[])], None, "https://id.test");

        assert!(directory.resolve(&Claim::default()).is_none());
    }

    #[test]
    fn the_issuer_is_the_same_whichever_way_the_tenant_was_named() {
        let tenants = vec![tenant(2, "acme", &["auth.acme.test"])];
        let directory = Directory::new(tenants, Some("acme"), "https://id.test");

        for claim in [Claim::default(), Claim { host: Some("auth.acme.test"), ..Claim::default() }] {
            assert_eq!(directory.resolve(&claim).unwrap().issuer(), "https://id.test/t/acme");
        }
    }
}
