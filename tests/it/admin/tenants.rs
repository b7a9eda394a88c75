//! Tenants over the admin API.

use serde_json::json;

use super::key_of;
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    a_tenant_made_over_the_api_is_served_at_once,
    what_cannot_be_a_tenant_is_named_member_by_member,
    tenants_are_listed_in_pages,
    slug_profile_and_domains_are_the_platforms,
    region_and_locale_are_changed_here_or_in_the_settings,
    a_tenant_that_changed_meanwhile_is_not_changed,
    of_many_changes_at_once_none_is_lost,
);

async fn a_tenant_made_over_the_api_is_served_at_once(gateway: Gateway) {
    let body = json!({"slug": "acme", "name": "Acme", "domains": ["Login.ACME.test"], "region": "SN", "locale": "fr"});
    let made = gateway.admin().post("/tenants", &body).bearer(ROOT_KEY).await.expect(201);

    assert_eq!(made.header("location"), "/admin/v1/tenants/acme");
    assert_eq!(made["profile"], "asvs-l1");
    assert_eq!(made["domains"], json!(["login.acme.test"]));
    assert_eq!((&made["region"], &made["locale"]), (&json!("SN"), &json!("fr")));
    gateway.door("/t/acme").get("/.well-known/jwks.json").await.expect(200);
    gateway.classic().get("/.well-known/jwks.json").header("host", "login.acme.test").await.expect(200);

    gateway.admin().post("/tenants", &json!({"slug": "acme"})).bearer(ROOT_KEY).await.refused(409, "tenant_exists");
    let thief = json!({"slug": "thief", "domains": ["login.acme.test"]});
    gateway.admin().post("/tenants", &thief).bearer(ROOT_KEY).await.refused(409, "domain_taken");
    gateway.door("/t/thief").get("/.well-known/jwks.json").await.refused(404, "tenant_not_found");
}

async fn what_cannot_be_a_tenant_is_named_member_by_member(gateway: Gateway) {
    let pointers = async |body| {
        let refused = gateway.admin().post("/tenants", &body).bearer(ROOT_KEY).await.refused(400, "validation");
        let errors = refused["errors"].as_array().unwrap().clone();
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    assert_eq!(
        pointers(json!({"slug": "A b", "name": "\u{7}", "domains": ["ok.test", "no", "ok.test"]})).await,
        ["/slug", "/name", "/domains/1", "/domains/2"]
    );
    assert_eq!(pointers(json!({})).await, ["/slug"]);
    assert_eq!(pointers(json!({"slug": "a", "colour": 1})).await, ["/colour"]);
    assert_eq!(pointers(json!({"slug": "a", "profile": "lax"})).await, ["/profile"]);
    assert_eq!(pointers(json!({"slug": "a", "region": "ZZ"})).await, ["/region"]);
}

async fn tenants_are_listed_in_pages(gateway: Gateway) {
    let page = async |query: &str| gateway.admin().get(&format!("/tenants{query}")).bearer(ROOT_KEY).await;

    let first = page("?limit=2").await.expect(200);
    let slugs = |answer: &crate::harness::client::Answer| {
        let items = answer["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["slug"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(slugs(&first), ["bare", "default"]);
    let second = page(&format!("?limit=2&after={}", first.word("next"))).await.expect(200);
    assert_eq!(slugs(&second), ["other", "strict"]);
    let last = page(&format!("?limit=2&after={}", second.word("next"))).await.expect(200);
    assert_eq!(slugs(&last), ["worded"]);
    assert!(last["next"].is_null());
    for query in ["?limit=0", "?limit=201", "?limit=x", "?limit=-1"] {
        page(query).await.refused(400, "validation");
    }
}

async fn slug_profile_and_domains_are_the_platforms(gateway: Gateway) {
    let key = key_of(&gateway, "other", "tenant-admin").await;
    let patch = |key: &str, body| gateway.admin().patch("/tenants/other", &body).bearer(key);

    assert_eq!(patch(&key, json!({"name": "Another"})).await.expect(200)["name"], "Another");
    for body in [json!({"slug": "x"}), json!({"profile": "classic"}), json!({"domains": []})] {
        patch(&key, body).await.refused(403, "forbidden");
    }
    let changed = patch(ROOT_KEY, json!({"slug": "moved", "domains": ["a.other.test"]})).await.expect(200);
    assert_eq!((&changed["slug"], &changed["domains"]), (&json!("moved"), &json!(["a.other.test"])));
    gateway.door("/t/moved").get("/.well-known/jwks.json").await.expect(200);
    gateway.other().get("/.well-known/jwks.json").await.refused(404, "tenant_not_found");
    gateway.admin().get("/tenants/moved").bearer(&key).await.expect(200);

    let default = gateway.admin().patch("/tenants/default", &json!({"slug": "x"})).bearer(ROOT_KEY).await;
    default.refused(409, "default_tenant");
}

async fn region_and_locale_are_changed_here_or_in_the_settings(gateway: Gateway) {
    let key = key_of(&gateway, "bare", "tenant-admin").await;
    let patch = |body| gateway.admin().patch("/tenants/bare", &body).bearer(&key);
    let settings = async || gateway.admin().get("/tenants/bare/settings").bearer(&key).await.expect(200);

    let changed = patch(json!({"region": "SN", "locale": "fr"})).await.expect(200);
    assert_eq!((&changed["region"], &changed["locale"]), (&json!("SN"), &json!("fr")));
    let shown = settings().await;
    assert_eq!(
        (shown.json.clone(), shown.header("etag")),
        (json!({"region": "SN", "locale": "fr"}), changed.header("etag"))
    );
    gateway.audited("authz_admin", 1).await;
    // What is not there stays, null takes back, and what changes nothing makes no version.
    let renamed = patch(json!({"name": "Bare", "locale": null})).await.expect(200);
    assert_eq!(
        (&renamed["name"], &renamed["region"], &renamed["locale"]),
        (&json!("Bare"), &json!("SN"), &json!(null))
    );
    gateway.audited("authz_admin", 3).await;
    let same = patch(json!({"region": "sn", "locale": null})).await.expect(200);
    assert_eq!(same.header("etag"), renamed.header("etag"));
    assert_eq!(settings().await.json, json!({"region": "SN"}));

    patch(json!({"region": "ML"})).header("if-match", changed.header("etag")).await.refused(412, "precondition_failed");
    patch(json!({"region": "ML"})).header("if-match", same.header("etag")).await.expect(200);
    for (body, pointer) in [
        (json!({"region": "ZZ"}), "/region"),
        (json!({"locale": "tlh"}), "/locale"),
        (json!({"locale": 1}), "/locale"),
        (json!({"name": null}), "/name"),
        (json!({"profile": null}), "/profile"),
        (json!({"slug": null}), "/slug"),
    ] {
        assert_eq!(patch(body).await.refused(400, "validation")["errors"][0]["pointer"], pointer);
    }
    patch(json!({"domains": null})).await.refused(403, "forbidden");
    let rooted = |body| gateway.admin().patch("/tenants/bare", &body).bearer(ROOT_KEY);
    rooted(json!({"domains": ["bare.test"]})).await.expect(200);
    assert_eq!(rooted(json!({"domains": null})).await.expect(200)["domains"], json!([]));
    let support = key_of(&gateway, "bare", "tenant-support").await;
    let refused = gateway.admin().patch("/tenants/bare", &json!({"region": "SN"})).bearer(&support).await;
    refused.refused(403, "forbidden");
    let made = json!({"version": changed.header("etag").trim_matches('"').parse::<u64>().unwrap()});
    let back = gateway.admin().post("/tenants/bare/settings/rollback", &made).bearer(&key).await.expect(200);
    assert_eq!(back.json, json!({"region": "SN", "locale": "fr"}));
}

async fn a_tenant_that_changed_meanwhile_is_not_changed(gateway: Gateway) {
    let (tenant, settings) = ("/tenants/bare", "/tenants/bare/settings");
    let read = async |path| gateway.admin().get(path).bearer(ROOT_KEY).await.expect(200).header("etag").to_owned();
    let patch = |name: &str| gateway.admin().patch(tenant, &json!({"name": name})).bearer(ROOT_KEY);
    let tag = read(tenant).await;

    let first = patch("First").header("if-match", &tag).await.expect(200);
    assert_ne!(first.header("etag"), tag);
    patch("Second").header("if-match", &tag).await.refused(412, "precondition_failed");
    for tag in ["\"7\"", "W/\"2\"", "2", "nonsense"] {
        patch("Second").header("if-match", tag).await.refused(412, "precondition_failed");
    }
    assert_eq!(gateway.admin().get(tenant).bearer(ROOT_KEY).await.expect(200)["name"], "First");
    // What changes nothing makes no version.
    let same = patch("First").header("if-match", first.header("etag")).await.expect(200);
    assert_eq!(same.header("etag"), first.header("etag"));
    patch("Third").header("if-match", "*").await.expect(200);
    patch("Fourth").await.expect(200);

    // The settings were judged by what the tenant was: one version for both, and none of them is missing.
    let tag = read(tenant).await;
    assert_eq!(read(settings).await, tag);
    gateway.admin().patch(settings, &json!({"lockout": {"threshold": 3}})).bearer(ROOT_KEY).await.expect(200);
    patch("Fifth").header("if-match", &tag).await.refused(412, "precondition_failed");
    let back = json!({"version": tag.trim_matches('"').parse::<u64>().unwrap()});
    let back = gateway.admin().post(&format!("{settings}/rollback"), &back).bearer(ROOT_KEY).await.expect(200);
    assert_eq!(back.json, json!({}));
}

async fn of_many_changes_at_once_none_is_lost(gateway: Gateway) {
    let patch = |path: &str, body| gateway.admin().patch(path, &body).bearer(ROOT_KEY);

    let (one, two, three) = tokio::join!(
        patch("/tenants/bare", json!({"name": "Bare"})).into_future(),
        patch("/tenants/bare", json!({"domains": ["login.bare.test"]})).into_future(),
        patch("/tenants/bare/settings", json!({"region": "SN"})).into_future()
    );

    for answer in [one, two, three] {
        answer.expect(200);
    }
    let shown = gateway.admin().get("/tenants/bare").bearer(ROOT_KEY).await.expect(200);
    assert_eq!((&shown["name"], &shown["domains"]), (&json!("Bare"), &json!(["login.bare.test"])));
    assert_eq!((&shown["region"], &shown["version"]), (&json!("SN"), &json!(4)));
}
