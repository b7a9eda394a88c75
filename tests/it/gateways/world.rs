//! One test's world: guichet with two tenants and two apps, the apps themselves, a gateway before them.

use guichet::clock::Clock;
use guichet::crypto::digest;
use guichet::domain::app::App as Registered;
use guichet::domain::ids::{AppId, TenantId};
use guichet::domain::policy::Profile;
use guichet::entropy::Entropy;
use guichet::storage::Storage;
use reqwest::Method;
use serde_json::{Value, json};
use std::cell::Cell;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::app::App;
use super::recipes::{Gateway, Places, Running};
use crate::harness::databases::{SETTINGS, changed, make_tenant, new_tenant};
use crate::harness::node::{Node, Settings};

/// What guichet is reached under: the issuer that recipes name.
pub(super) const PLATFORM: &str = "https://id.example.com";

/// The hosts of the two apps, their audiences less the scheme.
pub(super) const SHOP: &str = "shop.example.com";
pub(super) const DESK: &str = "desk.example.com";

/// The tenant of the apps, and another one.
pub(super) const ACME: &str = "acme";
pub(super) const RIVAL: &str = "rival";

/// Everything a case needs.
pub(super) struct World {
    pub(super) kind: Gateway,
    pub(super) gateway: Running,
    pub(super) shop: App,
    pub(super) desk: App,
    pub(super) node: Node,
    shop_id: AppId,
    desk_id: AppId,
    rival_id: AppId,
    people: Cell<u32>,
}

/// Somebody signed in.
pub(super) struct Person {
    pub(super) id: String,
    pub(super) token: String,
    pub(super) refresh_token: String,
}

/// What came back through the gateway.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    /// What the app saw; null if none did.
    pub(super) json: Value,
}

impl World {
    /// Starts it all; `None` where the gateway's program is missing and may be.
    pub(super) async fn start(kind: Gateway) -> Option<Self> {
        let settings = Settings::embedded()
            .with("GUICHET__HTTP__PUBLIC_URL", PLATFORM)
            .with("GUICHET_TRUSTED_PROXIES", "127.0.0.0/8");
        let storage = Storage::open(&settings.sqlite(), &SETTINGS).await.unwrap();
        storage.migrate().await.unwrap();
        let acme = make_tenant(&storage, &new_tenant(ACME, Profile::Classic)).await;
        let rival = make_tenant(&storage, &new_tenant(RIVAL, Profile::Classic)).await;
        let shop_id = app(&storage, acme, SHOP).await;
        let desk_id = app(&storage, acme, DESK).await;
        // Another tenant may name the same audience: only its tokens' tenant tells them apart.
        let rival_id = app(&storage, rival, SHOP).await;
        storage.close().await;

        let node = Node::spawn(&settings).await;
        let (shop, desk) = (App::start("shop").await, App::start("desk").await);
        let places = Places { guichet: node.public(), shop: shop.address, desk: desk.address };
        let gateway = kind.start(&places).await?;
        Some(Self { kind, gateway, shop, desk, node, shop_id, desk_id, rival_id, people: Cell::new(0) })
    }

    /// A person of the apps' tenant with a token for the shop.
    pub(super) async fn customer(&self) -> Person {
        self.sign_up(ACME, self.shop_id).await
    }

    /// A person of the apps' tenant with a token for the desk.
    pub(super) async fn clerk(&self) -> Person {
        self.sign_up(ACME, self.desk_id).await
    }

    /// A person of the other tenant, with a token for an audience of the shop's name.
    pub(super) async fn stranger(&self) -> Person {
        self.sign_up(RIVAL, self.rival_id).await
    }

    async fn sign_up(&self, tenant: &str, app: AppId) -> Person {
        let n = self.people.get();
        self.people.set(n + 1);
        let phone = format!("+22177123{:04}", 1_000 + n);
        let path = |path: &str| format!("/t/{tenant}{path}");
        let asked = self.node.post(&path("/auth/request-code"), &json!({ "phone": phone })).await;
        assert_eq!(asked.status, 200, "{asked:?}: {}", self.node.log());
        let code = self.node.message(&phone).await.code(4).unwrap();
        let answer = json!({ "phone": phone, "code": code, "client_id": app.to_string() });
        let proven = self.node.post(&path("/auth/verify-code"), &answer).await.must_be(200);
        let registration = json!({
            "phone": phone, "first_name": "Awa", "last_name": "Diop", "client_id": app.to_string(),
            "registration_token": proven.text("registration_token"),
        });
        let registered = self.node.post(&path("/auth/register"), &registration).await.must_be(201);
        Person {
            id: registered.json["user"]["id"].as_str().unwrap().to_owned(),
            token: registered.text("token"),
            refresh_token: registered.text("refresh_token"),
        }
    }

    /// `GET /` of an app through the gateway, with these headers.
    pub(super) async fn get(&self, host: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(Method::GET, host, headers, Vec::new()).await
    }

    /// The same with a token.
    pub(super) async fn get_with(&self, host: &str, token: &str) -> Answer {
        self.get(host, &[("authorization", &format!("Bearer {token}"))]).await
    }

    /// Any request to an app through the gateway.
    pub(super) async fn ask(&self, method: Method, host: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let client = reqwest::Client::builder().resolve(host, self.gateway.address).build().unwrap();
        let url = format!("http://{host}:{}/things/1?audience=https://evil.example", self.gateway.address.port());
        let mut request = client.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("the gateway answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Answer { status, headers, json: serde_json::from_str(&text).unwrap_or_default() }
    }

    /// Asks for a WebSocket; the head of the answer, and the stream behind it.
    pub(super) async fn upgrade(&self, host: &str, token: Option<&str>) -> (String, TcpStream) {
        let mut stream = TcpStream::connect(self.gateway.address).await.unwrap();
        let port = self.gateway.address.port();
        let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /chat HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{bearer}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        (String::from_utf8(head).unwrap(), stream)
    }

    /// Requests that reached either app.
    pub(super) fn requests(&self) -> usize {
        self.shop.requests() + self.desk.requests()
    }
}

impl Answer {
    /// A header as the app saw it.
    pub(super) fn arrived(&self, name: &str) -> Option<&str> {
        self.json["headers"][name].as_str()
    }
}

async fn app(storage: &Storage, tenant: TenantId, host: &str) -> AppId {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let app = Registered {
        id: AppId::at(clock.now(), entropy.bytes()),
        name: host.to_owned(),
        audience: format!("https://{host}"),
        origins: vec![format!("https://{host}")],
        secret_digest: digest::token_digest("not used here"),
        created_at: clock.now(),
    };
    storage.apps().create(tenant, &app, &changed(tenant)).await.unwrap();
    app.id
}
