//! The admin listener's health routes, served by the same machinery.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use guichet::clock::Clock;
use guichet::entropy::Entropy;
use guichet::http::handlers::health::{self, Health};
use guichet::http::middleware::{FrontEnd, NoHooks, RequestLimits, Surroundings};
use guichet::http::peer::TrustedProxies;
use guichet::http::router::Router;
use guichet::http::server;
use guichet::secret::SecretString;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use super::{client, patient, problem};

struct Ward {
    is_ready: AtomicBool,
    allow: Vec<IpNet>,
    root_key: SecretString,
}

impl Health for Ward {
    fn waiting_for(&self) -> Vec<&'static str> {
        if self.is_ready.load(Ordering::SeqCst) { Vec::new() } else { vec!["storage"] }
    }

    fn render_metrics(&self) -> String {
        "guichet_up 1\n".to_owned()
    }

    fn metrics_allow(&self) -> &[IpNet] {
        &self.allow
    }

    fn root_key(&self) -> &SecretString {
        &self.root_key
    }
}

async fn start(allow: &[&str]) -> (Arc<Ward>, SocketAddr) {
    let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
    let ward = Arc::new(Ward { is_ready: AtomicBool::new(true), allow, root_key: "root-key".into() });
    let surroundings =
        Surroundings { clock: Clock::system(), entropy: Entropy::system(), proxies: TrustedProxies::default() };
    let router = Router::new(health::routes()).unwrap();
    let front = FrontEnd::new(router, ward.clone(), NoHooks, RequestLimits::default(), surroundings);
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let listening = server::start(any_port, front, patient().0, CancellationToken::new()).await.unwrap();
    (ward, listening.address)
}

#[tokio::test]
async fn alive_is_not_ready() {
    let (ward, address) = start(&[]).await;
    let get = |path: &str| client().get(format!("http://{address}{path}")).send();
    assert_eq!(get("/readyz").await.unwrap().status(), 200);

    ward.is_ready.store(false, Ordering::SeqCst);

    assert_eq!(get("/healthz").await.unwrap().status(), 200);
    let unready = get("/readyz").await.unwrap();
    assert_eq!(unready.status(), 503);
    assert_eq!(problem(unready).await["waiting_for"][0], "storage");
}

#[tokio::test]
async fn metrics_are_for_near_addresses_or_the_root_key() {
    let (_, near) = start(&["127.0.0.0/8"]).await;
    let (_, far) = start(&["192.0.2.0/24"]).await;
    let get = |address: SocketAddr, key: Option<&str>| {
        let request = client().get(format!("http://{address}/metrics"));
        key.map_or(request.try_clone().unwrap(), |key| request.bearer_auth(key)).send()
    };

    assert_eq!(get(near, None).await.unwrap().text().await.unwrap(), "guichet_up 1\n");
    assert_eq!(get(far, None).await.unwrap().status(), 404);
    assert_eq!(get(far, Some("root-keY")).await.unwrap().status(), 404);
    assert_eq!(get(far, Some("root-key")).await.unwrap().status(), 200);
}
