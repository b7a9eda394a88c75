//! What no back end can store is refused before any is asked, alike on each.

use http::Method;
use serde_json::json;

use super::key_of;
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    a_path_with_a_nul_names_nothing,
    a_query_with_a_nul_is_named_by_its_parameter,
    a_body_with_a_nul_is_named_by_its_pointer,
);

async fn a_path_with_a_nul_names_nothing(gateway: Gateway) {
    let admin = gateway.admin();
    let own = key_of(&gateway, "strict", "tenant-admin").await;
    let slugs = ["%00", "strict%00", "str%00ict", "strict%20", "Strict", "%C3%A9"];
    for (slug, key) in slugs.iter().flat_map(|slug| [(slug, ROOT_KEY), (slug, own.as_str())]) {
        for path in ["", "/settings", "/users", "/keys", "/audit"] {
            let path = format!("/tenants/{slug}{path}");
            admin.get(&path).bearer(key).await.refused(404, "tenant_not_found");
        }
        admin.get(&format!("/tenants/{slug}")).await.refused(401, "missing_token");
    }
    for slug in slugs {
        admin.delete(&format!("/tenants/{slug}")).bearer(ROOT_KEY).await.refused(404, "tenant_not_found");
    }
    for thing in ["users", "apps", "keys"] {
        let path = format!("/tenants/strict/{thing}/a%00b");
        admin.get(&path).bearer(&own).await.refused(404, "not_found");
        admin.delete(&path).bearer(&own).await.refused(404, "not_found");
    }
}

async fn a_query_with_a_nul_is_named_by_its_parameter(gateway: Gateway) {
    let own = key_of(&gateway, "strict", "tenant-support").await;
    for (path, pointer) in [
        ("/tenants?after=%00", "/after"),
        ("/tenants/strict/users?q=a%00", "/q"),
        ("/tenants/strict/users?status=%00", "/status"),
        ("/tenants/strict/users?limit=5&after=a%00b", "/after"),
        ("/tenants/strict/messages?recipient=a%00@example.com", "/recipient"),
        ("/tenants/strict/audit?account=%00", "/account"),
        ("/tenants/strict/settings/versions?after=%00", "/after"),
    ] {
        for key in [ROOT_KEY, &own] {
            let refused = gateway.admin().get(path).bearer(key).await.refused(400, "validation");
            assert_eq!(refused["errors"][0]["pointer"], pointer, "{path}");
        }
    }
}

async fn a_body_with_a_nul_is_named_by_its_pointer(gateway: Gateway) {
    let admin = gateway.admin();
    let smtp = json!({"host": "mail.other.test", "port": 587, "security": "tls", "username": "a\u{0}b", "password": "p",
                      "from": "a@other.test"});
    let http = json!({"kind": "http", "url": "https://sms.other.test/", "body": {"text": ["{text}", "\u{0}"]}});
    let mut headers = http.clone();
    (headers["body"], headers["headers"]) = (json!("{text}"), json!({"A": "b\u{0}"}));
    let documents = [
        (json!({"region": "S\u{0}"}), "/region"),
        (json!({"templates": {"sign_in_code": {"fr": {"sms": "{{ code }}\u{0}"}}}}), "/templates/sign_in_code/fr/sms"),
        (json!({"email": {"senders": [smtp]}}), "/email/senders/0/username"),
        (json!({"sms": {"senders": [http]}}), "/sms/senders/0/body/text/1"),
        (json!({"sms": {"senders": [headers]}}), "/sms/senders/0/headers/A"),
        (json!({"colour\u{0}": 1}), "/colour\u{0}"),
    ];
    for (document, pointer) in &documents {
        let refused = admin.patch("/tenants/other/settings", document).bearer(ROOT_KEY).await;
        assert_eq!(refused.refused(400, "validation")["errors"][0]["pointer"], *pointer, "{document}");
        let draft = json!({"to": "a@example.com", "settings": document});
        let refused = admin.post("/tenants/other/email/test", &draft).bearer(ROOT_KEY).await.refused(400, "validation");
        assert_eq!(refused["errors"][0]["pointer"], format!("/settings{pointer}"), "{document}");
    }
    for (method, path, body, pointer) in [
        (Method::POST, "/tenants", json!({"slug": "a\u{0}"}), "/slug"),
        (Method::POST, "/tenants", json!({"slug": "a", "name": "a\u{0}"}), "/name"),
        (Method::PATCH, "/tenants/other", json!({"domains": ["a\u{0}.test"]}), "/domains/0"),
        (Method::PATCH, "/tenants/other", json!({"locale": "f\u{0}"}), "/locale"),
        (Method::POST, "/tenants/other/keys", json!({"role": "tenant-admin", "name": "a\u{0}"}), "/name"),
        (Method::POST, "/tenants/other/apps", json!({"name": "a", "audience": "a\u{0}"}), "/audience"),
        (Method::POST, "/tenants/other/users", json!({"email": "a@b.test", "username": "a\u{0}"}), "/username"),
    ] {
        let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let call = admin.call(method, path).body(media, body.to_string()).bearer(ROOT_KEY);
        assert_eq!(call.await.refused(400, "validation")["errors"][0]["pointer"], pointer, "{body}");
    }
    assert_eq!(admin.get("/tenants/other/settings").bearer(ROOT_KEY).await.expect(200).json, json!({}));
}
