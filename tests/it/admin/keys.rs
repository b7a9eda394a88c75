//! Who may ask the admin API, and about whom.

use futures_util::future::join_all;
use serde_json::json;

use super::key_of;
use crate::harness::client::Answer;
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    nobody_gets_in_without_a_key,
    the_eleventh_bad_key_of_a_minute_is_not_looked_at,
    of_two_hundred_bad_keys_at_once_ten_are_looked_at,
    good_keys_pass_however_many_are_shown_at_once,
    a_proxy_that_names_no_client_is_one_client_of_the_admin_api,
    a_tenants_key_sees_its_tenant_alone,
    a_key_makes_no_key_above_its_own_role,
    a_key_is_shown_once_and_worth_nothing_once_forgotten,
    keys_are_listed_in_pages_and_shown_one_by_one,
);

async fn nobody_gets_in_without_a_key(gateway: Gateway) {
    let admin = gateway.admin();

    let refused = admin.get("/tenants").await.refused(401, "missing_token");
    assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"guichet\"");
    assert_eq!(refused["message"], "An admin key is required.");
    for key in ["gk_root_", "gk_nonsense", "root", "gk_root_of-a-test-long-enougH"] {
        let refused = admin.get("/tenants").bearer(key).await.refused(401, "invalid_token");
        assert_eq!(refused["message"], "The admin key is not valid.");
        assert!(refused.header("www-authenticate").ends_with("error_description=\"The admin key is not valid\""));
    }
    admin.get("/tenants").bearer(ROOT_KEY).await.expect(200);
    // The public listener has no such routes.
    gateway.classic().get("/admin/v1/tenants").bearer(ROOT_KEY).await.refused(404, "not_found");
}

async fn the_eleventh_bad_key_of_a_minute_is_not_looked_at(gateway: Gateway) {
    let ask = |key: &str, n: u8| gateway.admin().get("/tenants").bearer(key).at([127, 0, 9, n]);
    for _ in 0..10 {
        ask("gk_bad", 1).await.refused(401, "invalid_token");
    }

    let refused = ask("gk_bad", 1).await.refused(429, "too_many_requests");
    assert!((1..=60).contains(&refused.retry_after()));
    assert_eq!(refused.header("ratelimit-policy"), "\"failed-keys\";q=10;w=60");
    assert_eq!(refused.header("ratelimit"), format!("\"failed-keys\";r=0;t={}", refused.retry_after()));
    assert_eq!(refused["violated-policies"], json!(["failed-keys"]));
    ask(ROOT_KEY, 1).await.refused(429, "too_many_requests");
    ask(ROOT_KEY, 2).await.expect(200);

    gateway.clock.advance(std::time::Duration::from_secs(refused.retry_after()));
    ask(ROOT_KEY, 1).await.expect(200);
}

/// The same question with one key, that many times at once.
async fn at_once(gateway: &Gateway, times: usize, key: &str) -> Vec<Answer> {
    let ask = |_| gateway.admin().get("/tenants").bearer(key).into_future();
    join_all((0..times).map(ask)).await
}

async fn of_two_hundred_bad_keys_at_once_ten_are_looked_at(gateway: Gateway) {
    let answers = at_once(&gateway, 200, "gk_bad").await;

    let (looked_at, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 401);
    assert_eq!(looked_at.len(), 10);
    for answer in refused {
        assert!((1..=60).contains(&answer.refused(429, "too_many_requests").retry_after()));
    }
}

async fn good_keys_pass_however_many_are_shown_at_once(gateway: Gateway) {
    let key = key_of(&gateway, "strict", "tenant-admin").await;
    // As near to the limit as can be: they are looked at one by one.
    for _ in 0..9 {
        gateway.admin().get("/tenants").bearer("gk_bad").await.refused(401, "invalid_token");
    }

    for key in [ROOT_KEY, &key] {
        for answer in at_once(&gateway, 200, key).await {
            answer.expect(200);
        }
    }
}

async fn a_proxy_that_names_no_client_is_one_client_of_the_admin_api(gateway: Gateway) {
    let gateway = gateway.restart(|config| config.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let ask = |key: &str, named: Option<&str>| {
        let call = gateway.admin().get("/tenants").bearer(key);
        if let Some(client) = named { call.header("x-forwarded-for", client) } else { call }
    };
    for _ in 0..10 {
        ask("gk_bad", None).await.refused(401, "invalid_token");
    }

    ask("gk_bad", None).await.refused(429, "too_many_requests");
    // What names no client does not speak for whoever is named.
    ask("gk_bad", Some("198.51.100.1")).await.refused(401, "invalid_token");
    ask(ROOT_KEY, Some("198.51.100.1")).await.expect(200);
}

async fn a_tenants_key_sees_its_tenant_alone(gateway: Gateway) {
    let key = key_of(&gateway, "strict", "tenant-admin").await;
    let admin = gateway.admin();

    admin.get("/tenants/strict").bearer(&key).await.expect(200);
    let listed = admin.get("/tenants").bearer(&key).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["slug"], "strict");
    let others = admin.get("/tenants/other").bearer(&key).await.refused(404, "tenant_not_found");
    let nobodys = admin.get("/tenants/nobody").bearer(&key).await.refused(404, "tenant_not_found");
    assert_eq!(others.same_for_everybody(), nobodys.same_for_everybody());
}

async fn a_key_makes_no_key_above_its_own_role(gateway: Gateway) {
    let admin_key = key_of(&gateway, "strict", "tenant-admin").await;
    let support_key = key_of(&gateway, "strict", "tenant-support").await;
    let make = |key: &str, role: &str| {
        gateway.admin().post("/tenants/strict/keys", &json!({"role": role, "name": "x"})).bearer(key)
    };

    make(&admin_key, "tenant-admin").await.expect(201);
    make(&admin_key, "tenant-support").await.expect(201);
    make(&support_key, "tenant-support").await.refused(403, "forbidden");
    make(&admin_key, "platform-admin").await.refused(403, "forbidden");
    gateway.audited("authz_fail", 2).await;
    // No tenant's key is the platform's, whoever makes it.
    let refused = make(ROOT_KEY, "platform-admin").await.refused(400, "validation");
    assert_eq!(refused["errors"][0]["pointer"], "/role");
    let unknown = make(ROOT_KEY, "tenant-owner").await.refused(400, "validation");
    assert_eq!(unknown["errors"][0]["pointer"], "/role");
}

async fn a_key_is_shown_once_and_worth_nothing_once_forgotten(gateway: Gateway) {
    let admin = gateway.admin();
    let body = json!({"role": "tenant-support", "name": " the night shift "});
    let made = admin.post("/tenants/strict/keys", &body).bearer(ROOT_KEY).await.expect(201);
    let (id, key) = (made.word("id"), made.word("key"));
    assert!(key.starts_with("gk_") && key.len() > 40);

    let listed = admin.get("/tenants/strict/keys").bearer(&key).await.expect(200);
    assert_eq!(listed["items"][0]["name"], "the night shift");
    assert!(!listed.text.contains(&key));

    // Not through another tenant.
    admin.delete(&format!("/tenants/other/keys/{id}")).bearer(ROOT_KEY).await.refused(404, "not_found");
    admin.delete(&format!("/tenants/strict/keys/{id}")).bearer(ROOT_KEY).await.expect(204);
    admin.get("/tenants/strict").bearer(&key).await.refused(401, "invalid_token");
    admin.delete(&format!("/tenants/strict/keys/{id}")).bearer(ROOT_KEY).await.refused(404, "not_found");
}

async fn keys_are_listed_in_pages_and_shown_one_by_one(gateway: Gateway) {
    let admin = gateway.admin();
    let mut ids = Vec::new();
    for n in 0..5 {
        let body = json!({"role": "tenant-support", "name": format!("key {n}")});
        ids.push(admin.post("/tenants/strict/keys", &body).bearer(ROOT_KEY).await.expect(201).word("id"));
        gateway.clock.advance(std::time::Duration::from_millis(1));
    }
    let page = async |query: &str| admin.get(&format!("/tenants/strict/keys{query}")).bearer(ROOT_KEY).await;

    assert_eq!(page("").await.expect(200).ids(), ids);
    let first = page("?limit=2").await.expect(200);
    assert_eq!((first.ids(), first.word("next")), (ids[..2].to_vec(), ids[1].clone()));
    // Where a page begins may be gone by then.
    admin.delete(&format!("/tenants/strict/keys/{}", ids[1])).bearer(ROOT_KEY).await.expect(204);
    let second = page(&format!("?limit=2&after={}", first.word("next"))).await.expect(200);
    assert_eq!(second.ids(), ids[2..4]);
    let last = page(&format!("?limit=2&after={}", second.word("next"))).await.expect(200);
    assert_eq!((last.ids(), &last["next"]), (ids[4..].to_vec(), &json!(null)));
    for query in ["?limit=0", "?limit=201", "?limit=x", "?after=x"] {
        page(query).await.refused(400, "validation");
    }

    let one = admin.get(&format!("/tenants/strict/keys/{}", ids[3])).bearer(ROOT_KEY).await.expect(200);
    assert_eq!(
        (one.members(), &one.json),
        (["created_at", "id", "name", "role"].map(str::to_owned).to_vec(), &second["items"][1])
    );
    for path in [format!("strict/keys/{}", ids[1]), format!("other/keys/{}", ids[3]), "strict/keys/x".to_owned()] {
        admin.get(&format!("/tenants/{path}")).bearer(ROOT_KEY).await.refused(404, "not_found");
    }
}
