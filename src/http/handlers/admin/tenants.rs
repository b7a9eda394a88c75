//! Tenants: making, changing and ending them.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::{EXPECTED, expected, tagged};
use super::page::{self, Page};
use crate::actors::administration::tenants::{Change, Replace, Wanted};
use crate::actors::administration::{Holder, Refusal, Tenant};
use crate::domain::contact::Region;
use crate::domain::ids::TenantId;
use crate::domain::locale::Locale;
use crate::domain::policy::Profile;
use crate::domain::role::Role;
use crate::http::desk::{Desk, Guarded as _, Visit};
use crate::http::handlers::body;
use crate::http::openapi::Doc;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};

const LIST: &str = "/admin/v1/tenants";
const ONE: &str = "/admin/v1/tenants/{slug}";

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    use ProblemCode as P;
    Routes::new()
        .guarded(Role::TenantSupport, Method::GET, LIST, list)
        .describe(
            Doc::new("tenants", "Tenants, by slug")
                .about("A tenant's key sees its own alone.")
                .query("limit", page::LIMIT)
                .query("after", page::AFTER)
                .answer::<Page<TenantView>>(200, "A page of them.")
                .problems(&[P::Validation]),
        )
        .guarded(Role::PlatformAdmin, Method::POST, LIST, create)
        .describe(
            Doc::new("tenants", "Make a tenant")
                .body::<NewTenant>()
                .answer::<TenantView>(201, "It exists; `Location` leads to it.")
                .problems(&[P::TenantExists, P::DomainTaken]),
        )
        .of_tenant(Role::TenantSupport, Method::GET, ONE, show)
        .describe(Doc::new("tenants", "One tenant").answer::<TenantView>(200, "It; `ETag` is its version."))
        .of_tenant(Role::TenantAdmin, Method::PATCH, ONE, change)
        .describe(
            Doc::new("tenants", "Change a tenant")
                .about("`slug`, `profile` and `domains` are the platform administrator's. Another slug is another issuer: tokens made before are worth nothing. `region` and `locale` stand in the settings too; null takes one back.")
                .header("If-Match", EXPECTED)
                .body::<TenantChange>()
                .answer::<TenantView>(200, "As it is now.")
                .problems(&[P::TenantExists, P::DomainTaken, P::DefaultTenant, P::PreconditionFailed]),
        )
        .guarded(Role::PlatformAdmin, Method::DELETE, ONE, end)
        .describe(
            Doc::new("tenants", "End a tenant")
                .about("Within a second no node knows it; then all it owned is removed. One that was broken off goes on when it is asked for again.")
                .answer::<EndedView>(200, "How much of each kind was removed.")
                .problems(&[P::DefaultTenant]),
        )
}

/// A tenant.
#[derive(Serialize, JsonSchema)]
struct TenantView {
    #[schemars(with = "String")]
    id: TenantId,
    /// Its name in paths and tokens.
    slug: String,
    /// Its name for people.
    name: String,
    profile: Profile,
    /// Host names that lead to it; the first binds SMS codes.
    domains: Vec<String>,
    region: Option<Region>,
    locale: Option<Locale>,
    /// Grows with every change of it or of its settings.
    version: u64,
    created_at: String,
}

impl From<Tenant> for TenantView {
    fn from(tenant: Tenant) -> Self {
        Self {
            id: tenant.id,
            slug: tenant.slug,
            name: tenant.name,
            profile: tenant.profile,
            domains: tenant.domains,
            region: tenant.settings.region,
            locale: tenant.settings.locale,
            version: tenant.version,
            created_at: tenant.created_at.to_rfc3339(),
        }
    }
}

/// How much of each kind was removed.
#[derive(Serialize, JsonSchema)]
struct EndedView {
    purged: BTreeMap<&'static str, u64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    /// 1 to 63 lower-case letters, digits and inner dashes.
    slug: String,
    /// Its name for people; the slug if not given.
    name: Option<String>,
    /// `asvs-l1` if not given.
    profile: Option<Profile>,
    #[serde(default)]
    domains: Vec<String>,
    /// Where national phone forms belong (ISO 3166-1 alpha-2).
    region: Option<Region>,
    locale: Option<Locale>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TenantChange {
    #[serde(default, deserialize_with = "body::given")]
    #[schemars(with = "String")]
    slug: Option<String>,
    #[serde(default, deserialize_with = "body::given")]
    #[schemars(with = "String")]
    name: Option<String>,
    #[serde(default, deserialize_with = "body::given")]
    #[schemars(with = "Profile")]
    profile: Option<Profile>,
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    domains: Replace<Vec<String>>,
    #[serde(default)]
    #[schemars(with = "Option<Region>")]
    region: Replace<Region>,
    #[serde(default)]
    #[schemars(with = "Option<Locale>")]
    locale: Replace<Locale>,
}

async fn list(desk: Arc<Desk>, holder: Holder, request: Request) -> Answer {
    let limit = page::limit(&request)?;
    let after: Option<String> = page::after(&request)?;
    let rows = desk.administration.tenants(&holder, after.as_deref().unwrap_or_default(), limit + 1).await?;
    let page = Page::of(rows, limit, |tenant| tenant.slug.clone(), TenantView::from);
    Ok(Reply::json(StatusCode::OK, &page).no_store())
}

async fn create(desk: Arc<Desk>, holder: Holder, mut request: Request) -> Answer {
    let body: NewTenant = request.json().await?;
    let wanted = Wanted {
        slug: body.slug,
        name: body.name,
        profile: body.profile.unwrap_or(Profile::AsvsL1),
        domains: body.domains,
        region: body.region,
        locale: body.locale,
    };
    let tenant = desk.administration.make_tenant(&holder, wanted).await?;
    let location = HeaderValue::try_from(format!("{LIST}/{}", tenant.slug)).map_err(|_| ProblemCode::Internal)?;
    Ok(shown(StatusCode::CREATED, tenant).with_header(LOCATION, location))
}

async fn show(_desk: Arc<Desk>, visit: Visit, _request: Request) -> Answer {
    Ok(shown(StatusCode::OK, visit.tenant))
}

async fn change(desk: Arc<Desk>, visit: Visit, mut request: Request) -> Answer {
    let expected = expected(&request);
    let TenantChange { slug, name, profile, domains, region, locale } = request.json().await?;
    let change = Change { slug, name, profile, domains, region, locale };
    let tenant = desk.administration.change_tenant(&visit.holder, visit.tenant, &change, &expected).await?;
    Ok(shown(StatusCode::OK, tenant))
}

fn shown(status: StatusCode, tenant: Tenant) -> Reply {
    let version = tenant.version;
    tagged(Reply::json(status, &TenantView::from(tenant)).no_store(), version)
}

async fn end(desk: Arc<Desk>, _holder: Holder, request: Request) -> Answer {
    let slug = request.param("slug").ok_or(ProblemCode::NotFound)?;
    let purged = desk.administration.end_tenant(slug).await.map_err(|refusal| match refusal {
        Refusal::NotFound => ProblemCode::TenantNotFound.into(),
        other => Problem::from(other),
    })?;
    Ok(Reply::json(StatusCode::OK, &EndedView { purged }).no_store())
}
