//! Clients that others wrote, against a gateway that runs: what they take, what they refuse.
//!
//! Each library verifies the same tokens with the tenant's public keys; each OAuth client walks
//! the same way through the endpoints. The scripts are in `tests/fixtures/clients`.

mod endpoints;
mod tokens;

use guichet::clock::Clock;
use guichet::crypto::digest;
use guichet::domain::app::App;
use guichet::domain::ids::{AppId, TenantId};
use guichet::entropy::Entropy;
use guichet::storage::Storage;
use serde_json::json;

use crate::harness::client::{Answer, Door};
use crate::harness::databases::changed;
use crate::harness::gateway::{BackEnd, Gateway};

const SECRET: &str = "a secret that only the app knows";
const AUDIENCE: &str = "https://shop.example.com";

/// What a story needs: a gateway whose issuer is its own address, and apps of two tenants.
struct World {
    gateway: Gateway,
    /// Of the tenant `strict`, for [`AUDIENCE`].
    app: AppId,
    /// Of the same tenant, for another audience.
    other_app: AppId,
    /// Of the tenant `other`, for an audience of the same name.
    foreign_app: AppId,
}

/// Tells a story on it.
async fn run<F>(story: impl FnOnce(World) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    BackEnd::embedded()
        .run(|gateway| async move {
            let storage = gateway.storage().await;
            let strict = storage.tenants().find_by_slug("strict").await.unwrap().unwrap().id;
            let other = storage.tenants().find_by_slug("other").await.unwrap().unwrap().id;
            let app = app(&storage, strict, AUDIENCE).await;
            let other_app = self::app(&storage, strict, "https://desk.example.com").await;
            let foreign_app = self::app(&storage, other, AUDIENCE).await;
            storage.close().await;
            let gateway = gateway.restart(|config| config.http.public_url = None).await;
            story(World { gateway, app, other_app, foreign_app }).await;
        })
        .await;
}

/// An app of a tenant, written straight into storage.
async fn app(storage: &Storage, tenant: TenantId, audience: &str) -> AppId {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let app = App {
        id: AppId::at(clock.now(), entropy.bytes()),
        name: audience.to_owned(),
        audience: audience.to_owned(),
        origins: Vec::new(),
        secret_digest: digest::token_digest(SECRET),
        created_at: clock.now(),
    };
    storage.apps().create(tenant, &app, &changed(tenant)).await.unwrap();
    app.id
}

/// Signs a new person up by phone with tokens for an app.
async fn sign_up(door: Door<'_>, phone: &str, app: AppId, code_length: usize) -> Answer {
    door.post("/auth/request-code", &json!({ "phone": phone })).await.expect(200);
    let code = door.gateway().inbox.next(phone).await.code(code_length);
    let answer = json!({ "phone": phone, "code": code, "client_id": app.to_string() });
    let proven = door.post("/auth/verify-code", &answer).await.expect(200);
    let registration = json!({
        "phone": phone, "first_name": "Awa", "last_name": "Diop", "client_id": app.to_string(),
        "registration_token": proven.word("registration_token"),
    });
    door.post("/auth/register", &registration).await.expect(201)
}
