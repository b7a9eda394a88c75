//! The settings document over the admin API.

use serde_json::{Value, json};

use super::key_of;
use crate::harness::client::{Answer, Call};
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    a_patch_is_merged_and_versioned,
    a_bad_setting_is_named_and_nothing_is_saved,
    a_profiles_floors_cannot_be_undercut,
    a_document_that_changed_meanwhile_is_not_replaced,
    of_many_patches_at_once_none_is_lost,
    an_earlier_version_comes_back_with_its_credentials,
    a_credential_never_follows_its_sender_to_another_host,
    a_sender_of_another_kind_is_asked_for_its_own_credentials,
    own_is_complete_or_not_taken,
    a_public_url_stays_at_home,
    a_body_of_another_kind_is_refused,
);

const SETTINGS: &str = "/tenants/bare/settings";

fn read(gateway: &Gateway) -> Call<'_> {
    gateway.admin().get(SETTINGS).bearer(ROOT_KEY)
}

fn patch<'g>(gateway: &'g Gateway, body: &Value) -> Call<'g> {
    gateway.admin().patch(SETTINGS, body).bearer(ROOT_KEY)
}

fn errors(answer: &Answer) -> Vec<(String, String)> {
    let errors = answer["errors"].as_array().unwrap().clone();
    let word = |error: &Value, member: &str| error[member].as_str().unwrap().to_owned();
    errors.iter().map(|error| (word(error, "pointer"), word(error, "code"))).collect()
}

fn mail(host: &str) -> Value {
    let sender = json!({"host": host, "port": 587, "security": "starttls", "username": "acme", "from": "a@acme.test"});
    json!({"email": {"mode": "own", "senders": [sender]}})
}

fn mail_with(host: &str, password: &Value) -> Value {
    let mut document = mail(host);
    document["email"]["senders"][0]["password"] = password.clone();
    document
}

async fn a_patch_is_merged_and_versioned(gateway: Gateway) {
    let empty = read(&gateway).await.expect(200);
    assert_eq!((&empty.json, empty.header("etag")), (&json!({}), "\"1\""));

    let first = patch(&gateway, &json!({"otp": {"sms": {"length": 8, "ttl": 120}}, "region": "sn"})).await.expect(200);
    assert_eq!(first.json, json!({"otp": {"sms": {"length": 8, "ttl": 120}}, "region": "SN"}));
    assert_eq!(first.header("etag"), "\"2\"");
    let second =
        patch(&gateway, &json!({"otp": {"sms": {"ttl": null}}, "lockout": {"threshold": 3}})).await.expect(200);
    assert_eq!(second.json, json!({"otp": {"sms": {"length": 8}}, "lockout": {"threshold": 3}, "region": "SN"}));
    // What changes nothing makes no version.
    let same = patch(&gateway, &json!({"lockout": {"threshold": 3}})).await.expect(200);
    assert_eq!(same.header("etag"), "\"3\"");
    assert_eq!(read(&gateway).await.expect(200).json, second.json);

    let key = key_of(&gateway, "bare", "tenant-admin").await;
    gateway.admin().patch(SETTINGS, &json!({"region": null})).bearer(&key).await.expect(200);
    let page = gateway.admin().get("/tenants/bare/settings/versions?limit=3").bearer(&key).await.expect(200);
    let versions: Vec<_> =
        page["items"].as_array().unwrap().iter().map(|row| row["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, [4, 3, 2]);
    assert!(page["items"][0]["key_id"].is_string() && page["items"][1]["key_id"].is_null());
    let rest = format!("/tenants/bare/settings/versions?limit=3&after={}", page.word("next"));
    let rest = gateway.admin().get(&rest).bearer(&key).await.expect(200);
    assert_eq!((&rest["items"][0]["version"], &rest["next"]), (&json!(1), &Value::Null));
}

async fn a_bad_setting_is_named_and_nothing_is_saved(gateway: Gateway) {
    for (body, pointer, code) in [
        (json!({"otp": {"sms": {"length": 40}}}), "/otp/sms/length", "invalid"),
        (json!({"otp": {"sms": {"length": "6"}}}), "/otp/sms/length", "wrong_type"),
        (json!({"otp": {"sms": {"lenght": 6}}}), "/otp/sms/lenght", "unknown_member"),
        (json!({"colour": "red"}), "/colour", "unknown_member"),
        (json!({"email": {"senders": [{"host": "a.test"}]}}), "/email/senders/0/port", "missing"),
        (json!({"region": "ZZ"}), "/region", "invalid"),
        (json!({"tokens": {"access_ttl": -1}}), "/tokens/access_ttl", "invalid"),
        (json!({"limits": {"login-client": {"bogus": 1}}}), "/limits/login-client/bogus", "unknown_member"),
        (json!({"limits": {"login-client": 5}}), "/limits/login-client", "wrong_type"),
        (json!({"limits": {"log-in": {"quota": 5}}}), "/limits/log-in", "unknown_member"),
        (json!({"templates": {"sign_in_kode": {}}}), "/templates/sign_in_kode", "unknown_member"),
        (json!({"templates": {"sign_in_code": {"fr": {"sms": 5}}}}), "/templates/sign_in_code/fr/sms", "wrong_type"),
    ] {
        let refused = patch(&gateway, &body).await.refused(400, "validation");
        assert_eq!(errors(&refused), [(pointer.to_owned(), code.to_owned())], "{body}");
    }
    let refused = patch(&gateway, &json!({"otp": {"sms": {"length": 40}}})).await;
    assert!(refused["errors"][0]["message"].as_str().unwrap().starts_with("otp.sms.length: must be from 6 to 10"));
    assert_eq!(read(&gateway).await.expect(200).header("etag"), "\"1\"");
}

async fn a_profiles_floors_cannot_be_undercut(gateway: Gateway) {
    let lax = json!({
        "otp": {"sms": {"length": 4, "tries": 4}},
        "lockout": {"threshold": 6, "disclose": true},
        "password": {"min_length": 8, "refuse_common": false},
        "tokens": {"access_ttl": 3600},
        "registration": {"grant": "address"},
    });
    let refused = patch(&gateway, &lax).await.refused(400, "validation");
    assert_eq!(errors(&refused).len(), 8, "{}", refused.text);
    let classic = gateway.admin().patch("/tenants/other/settings", &lax).bearer(ROOT_KEY).await;
    classic.expect(200);
    // Nor by way of the profile.
    let refused = gateway.admin().patch("/tenants/other", &json!({"profile": "asvs-l1"})).bearer(ROOT_KEY).await;
    assert_eq!(errors(&refused.refused(400, "validation")).len(), 8);
}

async fn a_document_that_changed_meanwhile_is_not_replaced(gateway: Gateway) {
    let tag = read(&gateway).await.header("etag").to_owned();
    let body = |threshold: u8| json!({"lockout": {"threshold": threshold}});

    patch(&gateway, &body(3)).header("if-match", &tag).await.expect(200);
    patch(&gateway, &body(4)).header("if-match", &tag).await.refused(412, "precondition_failed");
    for tag in ["\"7\"", "W/\"2\"", "2", "nonsense"] {
        patch(&gateway, &body(4)).header("if-match", tag).await.refused(412, "precondition_failed");
    }
    let roll_back = gateway.admin().post("/tenants/bare/settings/rollback", &json!({"version": 1})).bearer(ROOT_KEY);
    roll_back.header("if-match", &tag).await.refused(412, "precondition_failed");
    patch(&gateway, &body(4)).header("if-match", "\"9\", \"2\"").await.expect(200);
    patch(&gateway, &body(5)).header("if-match", "*").await.expect(200);
    patch(&gateway, &body(2)).await.expect(200);
}

async fn of_many_patches_at_once_none_is_lost(gateway: Gateway) {
    let ttl = json!({"otp": {"sms": {"ttl": 120}}});
    let threshold = json!({"lockout": {"threshold": 3}});
    let length = json!({"otp": {"email": {"length": 8}}});

    let (one, two, three) = tokio::join!(
        patch(&gateway, &ttl).into_future(),
        patch(&gateway, &threshold).into_future(),
        patch(&gateway, &length).into_future()
    );

    for answer in [one, two, three] {
        answer.expect(200);
    }
    let all = json!({"otp": {"sms": {"ttl": 120}, "email": {"length": 8}}, "lockout": {"threshold": 3}});
    assert_eq!(read(&gateway).await.json, all);
}

async fn an_earlier_version_comes_back_with_its_credentials(gateway: Gateway) {
    let set = patch(&gateway, &mail_with("mail.acme.test", &json!("hunter2"))).await.expect(200);
    let version = set.header("etag").trim_matches('"').parse::<u64>().unwrap();
    assert_eq!(set["email"]["senders"][0]["password"]["set"], true);
    patch(&gateway, &json!({"email": null})).await.expect(200);
    assert_eq!(read(&gateway).await.json, json!({}));

    let roll_back = |version: u64| {
        gateway.admin().post("/tenants/bare/settings/rollback", &json!({"version": version})).bearer(ROOT_KEY)
    };
    let back = roll_back(version).await.expect(200);
    assert_eq!(back.json, set.json);
    assert_eq!(back.header("etag"), format!("\"{}\"", version + 2));
    // The very same: nothing asks for it anew.
    patch(&gateway, &mail("mail.acme.test")).await.expect(200);

    roll_back(99).await.refused(404, "not_found");
    roll_back(u64::MAX).await.refused(404, "not_found");
    let other = gateway.admin().post("/tenants/other/settings/rollback", &json!({"version": version})).bearer(ROOT_KEY);
    other.await.refused(404, "not_found");
}

async fn a_credential_never_follows_its_sender_to_another_host(gateway: Gateway) {
    patch(&gateway, &mail_with("mail.acme.test", &json!("hunter2"))).await.expect(200);
    let moved = patch(&gateway, &mail("evil.test")).await.refused(400, "credential_required");
    assert_eq!(errors(&moved), [("/email/senders/0/password".to_owned(), "credential_required".to_owned())]);
    let mark = patch(&gateway, &mail_with("evil.test", &json!({"set": true}))).await;
    mark.refused(400, "credential_required");

    // What was read can be written back.
    let shown = read(&gateway).await.expect(200);
    let same = patch(&gateway, &shown.json).await.expect(200);
    assert_eq!(same.header("etag"), shown.header("etag"));
    let cleared = patch(&gateway, &mail_with("mail.acme.test", &Value::Null)).await.refused(400, "validation");
    assert_eq!(errors(&cleared)[0].0, "/email/senders/0/password");
    let forged = patch(&gateway, &mail_with("evil.test", &json!({"sealed": "AAAA", "updated_at": 0}))).await;
    assert_eq!(errors(&forged.refused(400, "validation"))[0].1, "wrong_type");
}

async fn a_sender_of_another_kind_is_asked_for_its_own_credentials(gateway: Gateway) {
    let senders = |sender: Value| json!({"sms": {"mode": "own", "senders": [sender]}});
    let twilio = json!({"kind": "twilio", "name": "main", "account_sid": "AC0123456789abcdef0123456789abcdef",
                        "auth_token": "hunter2", "from": "+15005550006"});
    let vonage = json!({"kind": "vonage", "name": "main", "from": "Acme"});
    let http = json!({"kind": "http", "name": "main", "url": "https://sms.acme.test/", "body": {"to": "{to}", "text": "{text}"}});
    patch(&gateway, &senders(twilio.clone())).await.expect(200);

    let refused = patch(&gateway, &senders(vonage.clone())).await.refused(400, "credential_required");
    let required =
        ["api_key", "api_secret"].map(|member| (format!("/sms/senders/0/{member}"), "credential_required".to_owned()));
    assert_eq!(errors(&refused), required);
    let mut given = vonage.clone();
    (given["api_key"], given["api_secret"]) = (json!("k"), json!("s"));
    patch(&gateway, &senders(given)).await.expect(200);
    // One that needs none takes none along.
    let shown = patch(&gateway, &senders(http)).await.expect(200);
    assert!(!shown.text.contains("\"set\""), "{}", shown.text);
    let mut back = twilio;
    back.as_object_mut().unwrap().remove("auth_token");
    patch(&gateway, &senders(back)).await.refused(400, "credential_required");
    // What was never there was never kept, and without a name another kind is another sender.
    let mut new = vonage;
    new["name"] = json!("second");
    for name in [json!("second"), json!(null)] {
        new["name"] = name;
        let refused = patch(&gateway, &senders(new.clone())).await.refused(400, "credential_required");
        assert_eq!(errors(&refused), required);
    }
}

async fn own_is_complete_or_not_taken(gateway: Gateway) {
    for (body, pointer) in [
        (json!({"email": {"mode": "own"}}), "/email/senders"),
        (json!({"sms": {"mode": "own", "senders": []}}), "/sms/senders"),
        (json!({"sms": {"mode": "own", "senders": [{"kind": "http"}]}}), "/sms/senders/0/url"),
    ] {
        let refused = patch(&gateway, &body).await.refused(400, "validation");
        assert_eq!(errors(&refused)[0].0, pointer);
    }
    for mode in ["platform", "off"] {
        let body = json!({"email": {"mode": mode}, "sms": {"mode": mode}});
        // Nothing of the platform's own senders is shown.
        assert_eq!(patch(&gateway, &body).await.expect(200).json, body);
    }
}

async fn a_public_url_stays_at_home(gateway: Gateway) {
    let other =
        |url: &str| gateway.admin().patch("/tenants/other/settings", &json!({"public_url": url})).bearer(ROOT_KEY);
    for good in ["https://login.other.test", "https://login.other.test/sign-in", "http://login.guichet.test"] {
        other(good).await.expect(200);
    }
    for bad in [
        "https://evil.test",
        "http://login.other.test",
        "https://login.other.test.evil.test",
        "https://login.other.test@evil.test",
        "https://a@login.other.test",
        "https://login.other.test?next=x",
        "javascript:alert(1)",
        "login.other.test",
        "",
    ] {
        let refused = other(bad).await.refused(400, "validation");
        assert_eq!(errors(&refused)[0].0, "/public_url", "{bad}");
    }
    // A domain that links lead to is not taken away.
    other("https://login.other.test").await.expect(200);
    let refused = gateway.admin().patch("/tenants/other", &json!({"domains": []})).bearer(ROOT_KEY).await;
    assert_eq!(errors(&refused.refused(400, "validation"))[0].0, "/public_url");
}

async fn a_body_of_another_kind_is_refused(gateway: Gateway) {
    let call = |media: &str, body: &str| {
        gateway.admin().call(http::Method::PATCH, SETTINGS).bearer(ROOT_KEY).body(media, body)
    };
    call("application/json", "{}").await.expect(200);
    call("application/merge-patch+json", "{}").await.expect(200);
    call("text/plain", "{}").await.refused(415, "unsupported_media_type");
    call("application/json", "[]").await.refused(400, "validation");
    call("application/json", "null").await.refused(400, "validation");
    call("application/json", "{").await.refused(400, "invalid_json");
    call("application/json", &format!("{{\"region\":\"{}\"}}", "x".repeat(70_000)))
        .await
        .refused(413, "payload_too_large");
}
