//! Who is one client: never more than one bucket for one, never one bucket for everybody.

use std::time::Duration;

use guichet::crypto::digest::token_digest;
use guichet::domain::app::App;
use guichet::domain::ids::AppId;
use guichet::entropy::Entropy;
use serde_json::json;

use crate::harness::client::Answer;
use crate::harness::databases::changed;
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_header_that_anybody_can_write_is_no_way_around_a_limit,
    people_behind_a_proxy_that_names_nobody_do_not_share_a_bucket,
    people_behind_a_proxy_that_names_them_are_limited_each,
    addresses_of_one_v6_network_are_one_client_and_its_networks_one_site,
    an_app_states_whom_it_asks_for_with_its_credential_and_not_without,
);

/// Asks `times` times for what is refused for its body if the limit lets it pass; how many passed.
async fn passed(gateway: &Gateway, times: usize, headers: impl Fn(usize) -> Vec<(&'static str, String)>) -> usize {
    let mut passed = 0;
    for n in 0..times {
        let mut call = gateway.classic().post("/api/auth/login", &json!({}));
        for (name, value) in headers(n) {
            call = call.header(name, &value);
        }
        let answer: Answer = call.await;
        match answer.status.as_u16() {
            400 => passed += 1,
            _ => drop(answer.refused(429, "too_many_requests")),
        }
    }
    passed
}

/// As many as a minute's quota, and the few that the seconds of a slow machine add.
#[track_caller]
fn assert_one_bucket(passed: usize) {
    assert!((60..75).contains(&passed), "{passed} passed");
}

async fn a_header_that_anybody_can_write_is_no_way_around_a_limit(gateway: Gateway) {
    let rotating = |n: usize| {
        let address = format!("198.51.{}.{}", n / 256, n % 256);
        vec![("x-forwarded-for", address.clone()), ("x-guichet-client-address", address)]
    };

    assert_one_bucket(passed(&gateway, 150, rotating).await);
}

fn behind_a_proxy(config: &mut guichet::config::Config) {
    config.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
}

async fn people_behind_a_proxy_that_names_nobody_do_not_share_a_bucket(gateway: Gateway) {
    let gateway = gateway.restart(behind_a_proxy).await;

    assert_eq!(passed(&gateway, 200, |_| vec![]).await, 200);

    let client = gateway.http([127, 0, 0, 1].into());
    let metrics = client.get(gateway.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
    let skipped = metrics.lines().find_map(|line| line.strip_prefix("guichet_limits_skipped_total ")).unwrap();
    assert!(skipped.parse::<u64>().unwrap() >= 200, "{skipped}");
}

async fn people_behind_a_proxy_that_names_them_are_limited_each(gateway: Gateway) {
    let gateway = gateway.restart(behind_a_proxy).await;
    let named = |n: usize| vec![("x-forwarded-for", format!("198.51.100.{}", n % 3))];

    assert_eq!(passed(&gateway, 150, named).await, 150);
    assert_one_bucket(passed(&gateway, 150, |_| vec![("x-forwarded-for", "198.51.100.9".to_owned())]).await);
}

async fn addresses_of_one_v6_network_are_one_client_and_its_networks_one_site(gateway: Gateway) {
    let gateway = gateway.restart(behind_a_proxy).await;
    let of_one_network = |n: usize| vec![("x-forwarded-for", format!("2001:db8:1:7:{n:x}:{n:x}::{n:x}"))];
    let networks = |n: usize| vec![("x-forwarded-for", format!("2001:db8:2:{n:x}::1"))];

    assert_one_bucket(passed(&gateway, 150, of_one_network).await);

    let passed_of_site = passed(&gateway, 1_400, networks).await;
    assert!((960..1_300).contains(&passed_of_site), "{passed_of_site} of a site passed");
    assert_eq!(passed(&gateway, 1, |_| vec![("x-forwarded-for", "2001:db8:3::1".to_owned())]).await, 1);
}

async fn an_app_states_whom_it_asks_for_with_its_credential_and_not_without(gateway: Gateway) {
    let id = app(&gateway, "the app's secret").await;
    let with = |credential: String| {
        move |n: usize| {
            vec![("x-guichet-app", credential.clone()), ("x-guichet-client-address", format!("198.51.100.{}", n % 200))]
        }
    };
    let right = format!("{id}:the app's secret");
    known(&gateway, &right).await;

    assert_eq!(passed(&gateway, 200, with(right.clone())).await, 200);
    let one = |_| vec![("x-guichet-app", right.clone()), ("x-guichet-client-address", "2001:db8::7".to_owned())];
    assert_one_bucket(passed(&gateway, 150, one).await);
    // The peer's own bucket, which asking until the app was known has already taken from.
    let guessed = passed(&gateway, 150, with(format!("{id}:another secret"))).await;
    assert!((40..75).contains(&guessed), "{guessed} passed");
    // The peer is refused from memory now, and whom an app speaks for is not.
    assert_eq!(passed(&gateway, 20, with(right.clone())).await, 20);
    let stranger = AppId::random([9; 16]);
    assert!(passed(&gateway, 40, with(format!("{stranger}:the app's secret"))).await < 15, "still the same peer");
}

/// An app of the default tenant.
async fn app(gateway: &Gateway, secret: &str) -> AppId {
    let storage = gateway.storage().await;
    let tenants = storage.tenants().all().await.unwrap();
    let tenant = tenants.iter().find(|tenant| tenant.slug == "default").unwrap();
    let app = App {
        id: AppId::random(Entropy::system().bytes()),
        name: "Shop".to_owned(),
        audience: "shop".to_owned(),
        origins: vec![],
        secret_digest: token_digest(secret),
        created_at: gateway.clock.now(),
    };
    storage.apps().create(tenant.id, &app, &changed(tenant.id)).await.unwrap();
    storage.close().await;
    app.id
}

/// Waits until the node has heard of the app: every address it states has a bucket of its own then.
async fn known(gateway: &Gateway, credential: &str) {
    for _ in 0..500 {
        let mut left = Vec::new();
        for n in 0..6 {
            let call = gateway.classic().post("/api/auth/login", &json!({})).header("x-guichet-app", credential);
            let answer = call.header("x-guichet-client-address", &format!("203.0.113.{n}")).await;
            left.push(answer.header("ratelimit").to_owned());
        }
        if left.iter().all(|left| left.contains("r=59;")) {
            return;
        }
        gateway.clock.advance(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the app is never known");
}
