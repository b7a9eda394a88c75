//! The settings document, its versions, its credentials.

use super::{Administration, Fault};
use crate::domain::settings::{BadSetting, Settings};

impl Administration {
    /// `public_url` leads people to guichet: it stands on one of the tenant's domains or on the
    /// platform's host, and is as safe as the platform's.
    pub(super) fn check_public_url(&self, settings: &Settings, domains: &[String], bad: &mut Vec<Fault>) {
        let Some(text) = &settings.public_url else { return };
        let platform = url::Url::parse(&self.0.source.platform_url()).ok();
        let Ok(url) = url::Url::parse(text) else {
            return bad.push(Fault::new("/public_url", "invalid", "public_url: must be an absolute URL."));
        };
        let is_platform = platform.as_ref().is_some_and(|platform| platform.origin() == url.origin());
        let host = url.host_str().unwrap_or_default();
        let is_own = url.scheme() == "https" && domains.iter().any(|domain| domain == host);
        let is_bare =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if !is_bare || !(is_platform || is_own) {
            let why = "public_url: must be an https URL on one of the tenant's domains or on the platform's own.";
            bad.push(Fault::new("/public_url", "invalid", why));
        }
    }
}

/// Refused settings, by pointer; the dotted path stands in the message too.
pub(super) fn faults(bad: Vec<BadSetting>) -> Vec<Fault> {
    bad.into_iter()
        .map(|setting| Fault::new(pointer(&setting.path), "invalid", format!("{}: {}.", setting.path, setting.reason)))
        .collect()
}

/// `email.senders[0].host` as a JSON pointer.
fn pointer(path: &str) -> String {
    let steps = path.replace('[', ".").replace(']', "");
    steps.split('.').filter(|step| !step.is_empty()).map(|step| format!("/{step}")).collect()
}
