//! Applications of a tenant.

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::page::{self, Page};
use crate::actors::administration::apps::AppFacts;
use crate::actors::administration::tenants::Replace;
use crate::domain::app::App;
use crate::domain::ids::AppId;
use crate::domain::role::Role;
use crate::http::desk::{Desk, Guarded as _, Visit};
use crate::http::handlers::body;
use crate::http::openapi::Doc;
use crate::http::problem::ProblemCode;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};
use crate::secret::{ExposeSecret as _, SecretString};

const LIST: &str = "/admin/v1/tenants/{slug}/apps";
const ONE: &str = "/admin/v1/tenants/{slug}/apps/{id}";
const SECRET: &str = "/admin/v1/tenants/{slug}/apps/{id}/secret";

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    use ProblemCode as P;
    Routes::new()
        .of_tenant(Role::TenantSupport, Method::GET, LIST, list)
        .describe(
            Doc::new("apps", "The tenant's apps, oldest first")
                .query("limit", page::LIMIT)
                .query("after", page::AFTER)
                .answer::<Page<AppView>>(200, "A page of them.")
                .problems(&[P::Validation]),
        )
        .of_tenant(Role::TenantAdmin, Method::POST, LIST, create)
        .describe(
            Doc::new("apps", "Make an app")
                .about("The secret is answered this once and kept nowhere.")
                .body::<NewApp>()
                .answer::<AppMade>(201, "Its id is its OAuth `client_id`.")
                .problems(&[P::AudienceTaken, P::LimitReached]),
        )
        .of_tenant(Role::TenantSupport, Method::GET, ONE, show)
        .describe(Doc::new("apps", "One app").answer::<AppView>(200, "It."))
        .of_tenant(Role::TenantAdmin, Method::PATCH, ONE, change)
        .describe(
            Doc::new("apps", "Change an app")
                .body::<AppChange>()
                .answer::<AppView>(200, "As it is now.")
                .problems(&[P::AudienceTaken]),
        )
        .of_tenant(Role::TenantAdmin, Method::DELETE, ONE, forget)
        .describe(Doc::new("apps", "Forget an app").empty(204, "Its id and secret are worth nothing any more."))
        .of_tenant(Role::TenantAdmin, Method::POST, SECRET, renew_secret)
        .describe(
            Doc::new("apps", "Give an app another secret")
                .answer::<AppMade>(201, "The new one, shown this once; the old one is worth nothing."),
        )
}

/// An app, without its secret.
#[derive(Serialize, JsonSchema)]
struct AppView {
    /// Its OAuth `client_id`.
    #[schemars(with = "String")]
    id: AppId,
    name: String,
    /// `aud` of its tokens.
    audience: String,
    /// Origins whose pages may call guichet.
    origins: Vec<String>,
    created_at: String,
}

impl From<App> for AppView {
    fn from(app: App) -> Self {
        let App { id, name, audience, origins, created_at, .. } = app;
        Self { id, name, audience, origins, created_at: created_at.to_rfc3339() }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewApp {
    /// What people call it.
    name: String,
    /// `aud` of its tokens, 1 to 255 characters; no other app of the tenant has it.
    audience: String,
    /// `https://host[:port]`, or http on this machine.
    #[serde(default)]
    origins: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AppChange {
    #[serde(default, deserialize_with = "body::given")]
    #[schemars(with = "String")]
    name: Option<String>,
    #[serde(default, deserialize_with = "body::given")]
    #[schemars(with = "String")]
    audience: Option<String>,
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    origins: Replace<Vec<String>>,
}

/// An app with a secret made just now.
#[derive(Serialize, JsonSchema)]
struct AppMade {
    #[serde(flatten)]
    about: AppView,
    /// The secret, shown this once.
    secret: String,
}

async fn list(_desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let (limit, after) = (page::limit(&request)?, page::after(&request)?);
    let page = Page::of_all(visit.tenant.apps, after.as_ref(), limit, |app| app.id, AppView::from);
    Ok(Reply::json(StatusCode::OK, &page).no_store())
}

async fn create(desk: Arc<Desk>, visit: Visit, mut request: Request) -> Answer {
    let NewApp { name, audience, origins } = request.json().await?;
    let facts = AppFacts { name, audience, origins };
    let (app, secret) = desk.administration.make_app(&visit.holder, &visit.tenant, facts).await?;
    Ok(made(app, &secret))
}

async fn show(_desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    Ok(Reply::json(StatusCode::OK, &AppView::from(app(&visit, &request)?)).no_store())
}

async fn change(desk: Arc<Desk>, visit: Visit, mut request: Request) -> Answer {
    let app = app(&visit, &request)?;
    let body: AppChange = request.json().await?;
    let facts = AppFacts {
        name: body.name.unwrap_or_else(|| app.name.clone()),
        audience: body.audience.unwrap_or_else(|| app.audience.clone()),
        origins: match body.origins {
            Replace::Not => app.origins.clone(),
            Replace::With(origins) => origins.unwrap_or_default(),
        },
    };
    let app = desk.administration.change_app(&visit.holder, &visit.tenant, app, facts).await?;
    Ok(Reply::json(StatusCode::OK, &AppView::from(app)).no_store())
}

async fn forget(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let app = app(&visit, &request)?;
    desk.administration.forget_app(&visit.holder, &visit.tenant, app.id).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

async fn renew_secret(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let app = app(&visit, &request)?;
    let (app, secret) = desk.administration.renew_secret(&visit.holder, &visit.tenant, app).await?;
    Ok(made(app, &secret))
}

/// The app that the path names.
fn app(visit: &Visit, request: &Request) -> Result<App, ProblemCode> {
    let id: AppId = request.param("id").and_then(|id| id.parse().ok()).ok_or(ProblemCode::NotFound)?;
    visit.tenant.apps.iter().find(|app| app.id == id).cloned().ok_or(ProblemCode::NotFound)
}

fn made(app: App, secret: &SecretString) -> Reply {
    let made = AppMade { about: app.into(), secret: secret.expose_secret().to_owned() };
    Reply::json(StatusCode::CREATED, &made).no_store()
}
