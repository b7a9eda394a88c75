//! Applications over the admin API.

use serde_json::json;

use super::key_of;
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    an_apps_secret_is_shown_once_and_can_be_renewed,
    what_cannot_be_an_app_is_named_member_by_member,
    an_audience_names_one_app_of_its_tenant,
    anothers_app_is_not_there,
    apps_are_listed_in_pages,
);

async fn an_apps_secret_is_shown_once_and_can_be_renewed(gateway: Gateway) {
    let key = key_of(&gateway, "strict", "tenant-admin").await;
    let admin = gateway.admin();
    let body = json!({"name": "Shop", "audience": "https://shop.test", "origins": ["https://shop.test"]});
    let made = admin.post("/tenants/strict/apps", &body).bearer(&key).await.expect(201);
    let (path, secret) = (format!("/tenants/strict/apps/{}", made.word("id")), made.word("secret"));
    assert!(secret.len() >= 43);

    let shown = admin.get(&path).bearer(&key).await.expect(200);
    assert_eq!(shown.members(), ["audience", "created_at", "id", "name", "origins"]);
    let listed = admin.get("/tenants/strict/apps").bearer(&key).await.expect(200);
    assert_eq!(listed["items"], json!([shown.json]));

    let renewed = admin.post(&format!("{path}/secret"), &json!({})).bearer(&key).await.expect(201);
    assert_ne!(renewed.word("secret"), secret);
    let changed = admin.patch(&path, &json!({"name": "Shop 2", "origins": []})).bearer(&key).await.expect(200);
    assert_eq!((&changed["name"], &changed["audience"]), (&json!("Shop 2"), &json!("https://shop.test")));
    assert_eq!(changed["origins"], json!([]));
    // What has a value by itself may be taken back, the rest may not.
    admin.patch(&path, &json!({"origins": ["https://a.test"]})).bearer(&key).await.expect(200);
    assert_eq!(admin.patch(&path, &json!({"origins": null})).bearer(&key).await.expect(200)["origins"], json!([]));
    let refused = admin.patch(&path, &json!({"name": null})).bearer(&key).await.refused(400, "validation");
    assert_eq!(refused["errors"][0]["pointer"], "/name");

    admin.delete(&path).bearer(&key).await.expect(204);
    admin.get(&path).bearer(&key).await.refused(404, "not_found");
    admin.delete(&path).bearer(&key).await.refused(404, "not_found");
}

async fn what_cannot_be_an_app_is_named_member_by_member(gateway: Gateway) {
    let pointers = async |body| {
        let refused = gateway.admin().post("/tenants/strict/apps", &body).bearer(ROOT_KEY).await;
        let errors = refused.refused(400, "validation")["errors"].as_array().unwrap().clone();
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    assert_eq!(
        pointers(json!({"name": " ", "audience": "", "origins": ["http://shop.test", "https://shop.test", "*"]})).await,
        ["/name", "/audience", "/origins/0", "/origins/2"]
    );
    assert_eq!(pointers(json!({"name": "a", "audience": "x".repeat(256)})).await, ["/audience"]);
    assert_eq!(pointers(json!({"name": "a", "audience": "a", "secret": "mine"})).await, ["/secret"]);
}

async fn an_audience_names_one_app_of_its_tenant(gateway: Gateway) {
    let admin = gateway.admin();
    let make = |slug: &str, audience: &str| {
        let body = json!({"name": "a", "audience": audience});
        admin.post(&format!("/tenants/{slug}/apps"), &body).bearer(ROOT_KEY)
    };
    make("strict", "one").await.expect(201);
    make("strict", "one").await.refused(409, "audience_taken");
    make("other", "one").await.expect(201);
    let two = make("strict", "two").await.expect(201).word("id");
    let moved = admin.patch(&format!("/tenants/strict/apps/{two}"), &json!({"audience": "one"})).bearer(ROOT_KEY);
    moved.await.refused(409, "audience_taken");
}

async fn anothers_app_is_not_there(gateway: Gateway) {
    let admin = gateway.admin();
    let body = json!({"name": "a", "audience": "a"});
    let id = admin.post("/tenants/other/apps", &body).bearer(ROOT_KEY).await.expect(201).word("id");
    let key = key_of(&gateway, "strict", "tenant-admin").await;
    let path = format!("/tenants/strict/apps/{id}");

    admin.get(&path).bearer(&key).await.refused(404, "not_found");
    admin.patch(&path, &json!({"name": "b"})).bearer(&key).await.refused(404, "not_found");
    admin.post(&format!("{path}/secret"), &json!({})).bearer(&key).await.refused(404, "not_found");
    admin.delete(&path).bearer(&key).await.refused(404, "not_found");
    admin.get(&format!("/tenants/other/apps/{id}")).bearer(ROOT_KEY).await.expect(200);
}

async fn apps_are_listed_in_pages(gateway: Gateway) {
    let admin = gateway.admin();
    let mut ids = Vec::new();
    for n in 0..3 {
        let body = json!({"name": "a", "audience": format!("app {n}")});
        ids.push(admin.post("/tenants/strict/apps", &body).bearer(ROOT_KEY).await.expect(201).word("id"));
        gateway.clock.advance(std::time::Duration::from_millis(1));
    }
    let page = async |query: &str| admin.get(&format!("/tenants/strict/apps{query}")).bearer(ROOT_KEY).await;

    assert_eq!(page("").await.expect(200).ids(), ids);
    let first = page("?limit=2").await.expect(200);
    assert_eq!(first.ids(), ids[..2]);
    let last = page(&format!("?limit=2&after={}", first.word("next"))).await.expect(200);
    assert_eq!((last.ids(), &last["next"]), (ids[2..].to_vec(), &json!(null)));
    for query in ["?limit=0", "?limit=201", "?after=x"] {
        page(query).await.refused(400, "validation");
    }
}
