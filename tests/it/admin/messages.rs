//! A tenant made over the API brings its own senders, tests them, and sees what was sent.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::key_of;
use crate::delivery::certificate::Certificate;
use crate::delivery::mail_server::MailServer;
use crate::delivery::provider::{Provider, answer};
use crate::flows::{AWA, NUMBER, register, verify_code};
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    a_new_tenants_own_senders_carry_its_messages_and_it_sees_them,
    a_test_names_the_stage_that_failed,
    tests_are_counted_and_leave_nothing,
    a_test_goes_nowhere_that_codes_do_not_go,
    a_kill_switch_stops_tests_as_it_stops_codes,
    limits_and_texts_are_shown,
);

/// Where nobody listens.
async fn dead() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port()
}

fn http(name: &str, url: &str) -> Value {
    json!({"kind": "http", "name": name, "url": url, "body": {"to": "{to}", "code": "{code}"}})
}

fn smtp(port: u16) -> Value {
    json!({"host": "127.0.0.1", "port": port, "security": "none", "from": "no-reply@acme.test"})
}

async fn a_new_tenants_own_senders_carry_its_messages_and_it_sees_them(gateway: Gateway) {
    let admin = gateway.admin();
    admin.post("/tenants", &json!({"slug": "acme", "profile": "classic"})).bearer(ROOT_KEY).await.expect(201);
    let key = key_of(&gateway, "acme", "tenant-admin").await;
    let (second, mail) = (Provider::always(answer(200, "{}")).await, MailServer::start(&[]));
    let senders = json!({
        "sms": {"mode": "own", "senders": [
            http("first", &format!("http://127.0.0.1:{}/", dead().await)), http("second", &second.url())]},
        "email": {"mode": "own", "senders": [smtp(mail.port)]},
    });
    admin.patch("/tenants/acme/settings", &senders).bearer(&key).await.expect(200);
    let door = gateway.door("/t/acme");

    door.post("/auth/request-code", &json!({"phone": NUMBER})).await.expect(200);
    let log = async |query: &str| {
        let page = admin.get(&format!("/tenants/acme/messages{query}")).bearer(&key).await.expect(200);
        assert!(!page.text.contains("77123") && !page.text.contains("awa"), "{}", page.text);
        page["items"].as_array().unwrap().clone()
    };
    gateway.until(|| async { log("").await.len() == 2 }).await;
    let code = second.only().json()["code"].as_str().unwrap().to_owned();
    verify_code(door, NUMBER, &code).await.expect(200);
    register(door, AWA).await.expect(201);
    assert_eq!(mail.message().facts["recipients"], json!([AWA]));
    gateway.until(|| async { log("").await.len() == 3 }).await;

    let rows = log("").await;
    let told: Vec<_> =
        rows.iter().map(|row| (&row["channel"], &row["sender"], &row["attempt"], &row["state"])).collect();
    assert_eq!(told[0], (&json!("email"), &json!("smtp"), &json!(1), &json!("accepted")));
    assert_eq!(told[1], (&json!("sms"), &json!("second"), &json!(2), &json!("accepted")));
    assert_eq!((told[2].0, told[2].1, told[2].2), (&json!("sms"), &json!("first"), &json!(1)));
    assert_eq!((&rows[2]["stage"], &rows[2]["message"]), (&json!("connect"), &rows[1]["message"]));
    assert!(rows.iter().all(|row| row["latency_ms"].is_u64()));
    assert_eq!(log("?recipient=%2B221%2077%20123%2045%2067").await.len(), 2);
    assert_eq!(log("?recipient=Awa@Example.com").await.len(), 1);
    assert_eq!(log("?recipient=nobody@example.com").await.len(), 0);
    let page = admin.get("/tenants/acme/messages?limit=2").bearer(&key).await.expect(200);
    assert_eq!(log(&format!("?after={}", page.word("next"))).await, [rows[2].clone()]);
    let support = key_of(&gateway, "other", "tenant-support").await;
    assert_eq!(admin.get("/tenants/other/messages").bearer(&support).await.expect(200)["items"], json!([]));
}

async fn a_test_names_the_stage_that_failed(gateway: Gateway) {
    let key = key_of(&gateway, "other", "tenant-admin").await;
    let certificate = Certificate::new();
    let (tls, picky) = (certificate.serve("starttls", &[]), MailServer::start(&["--login", "tenant:s3cret"]));
    let (sender, recipient) =
        (MailServer::start(&["--refuse", "mail=550 no"]), MailServer::start(&["--refuse", "rcpt=550 no"]));
    let willing = MailServer::start(&[]);
    let unknown = json!({"host": "no-such-host.invalid", "port": 587, "security": "tls", "from": "a@b.test"});
    let mut untrusted = smtp(tls.port);
    untrusted["security"] = json!("starttls");
    let mut wrong = smtp(picky.port);
    wrong["username"] = json!("tenant");
    wrong["password"] = json!("canary-wrong-password");
    let ask = async |to: &str, draft: Value| {
        let settings = json!({"email": {"mode": "own", "senders": draft}});
        gateway.admin().post("/tenants/other/email/test", &json!({"to": to, "settings": settings})).bearer(&key).await
    };
    for (draft, stage, detail) in [
        (unknown, "resolve", "host_not_found"),
        (smtp(dead().await), "connect", "connect_failed"),
        (untrusted, "tls", "tls_failed"),
        (wrong, "auth", "535"),
        (smtp(sender.port), "sender", "550"),
        (smtp(recipient.port), "recipient", "550"),
        (smtp(willing.port), "accepted", "the message's own id"),
    ] {
        let told = ask(AWA, json!([draft])).await.expect(200);
        assert_eq!(told["stage"], stage, "{}", told.text);
        assert!(stage == "accepted" || told["detail"] == detail, "{}", told.text);
        assert!(told["sender"] == "smtp" && !told.text.contains("canary"), "{}", told.text);
    }
    assert!(willing.message().content.contains("Subject:"));
    // Of several the one that would carry a message answers for all, and each is told.
    let (mut first, mut second) = (smtp(dead().await), smtp(willing.port));
    (first["name"], second["name"]) = (json!("first"), json!("second"));
    let both = ask(AWA, json!([first, second])).await.expect(200);
    assert_eq!((both.word("stage"), both.word("sender")), ("accepted".to_owned(), "second".to_owned()));
    assert_eq!((&both["senders"][0]["stage"], &both["senders"][1]["stage"]), (&json!("connect"), &json!("accepted")));
}

async fn tests_are_counted_and_leave_nothing(gateway: Gateway) {
    let key = key_of(&gateway, "other", "tenant-admin").await;
    let provider = Provider::always(answer(200, "{}")).await;
    let draft = json!({"sms": {"mode": "own", "senders": [http("mine", &provider.url())]}});
    let ask = async |path: &str, body: Value| {
        gateway.admin().post(&format!("/tenants/other/{path}"), &body).bearer(&key).await
    };

    ask("sms/test", json!({"to": "12"})).await.refused(400, "invalid_phone");
    ask("email/test", json!({"to": NUMBER})).await.refused(400, "invalid_email");
    ask("sms/test", json!({"to": NUMBER, "settings": {"sms": {"mode": "off"}}})).await.refused(400, "invalid_request");
    ask("sms/test", json!({"to": NUMBER, "settings": {"sms": {"mode": "own"}}})).await.refused(400, "validation");
    // What is wrong with a draft is named by where it stands in what was sent.
    let untold = json!({"sms": {"senders": [{"kind": "http", "url": "ftp://a.test/"}]}, "lockout": {"threshold": 0}});
    let refused = ask("sms/test", json!({"to": NUMBER, "settings": untold})).await.refused(400, "validation");
    let pointers: Vec<_> = refused["errors"].as_array().unwrap().iter().map(|one| one["pointer"].clone()).collect();
    assert_eq!(pointers, ["/settings/lockout/threshold", "/settings/sms/senders/0/url"], "{}", refused.text);
    let asked_for = json!({"email": {"senders": [{"host": "a.test", "port": 587, "security": "tls", "username": "u",
                                                  "from": "a@a.test"}]}});
    let refused = ask("email/test", json!({"to": AWA, "settings": asked_for})).await;
    assert_eq!(refused.expect(400)["errors"][0]["pointer"], "/settings/email/senders/0/password");
    for _ in 0..10 {
        let told = ask("sms/test", json!({"to": NUMBER, "settings": draft})).await.expect(200);
        assert_eq!(told["stage"], "accepted", "{}", told.text);
    }
    let refused = ask("sms/test", json!({"to": NUMBER, "settings": draft})).await.refused(429, "too_many_requests");
    assert!((1..=3600).contains(&refused.retry_after()));
    assert_eq!(refused.header("ratelimit-policy"), "\"sender-tests\";q=10;w=3600");
    assert_eq!(refused.header("ratelimit"), format!("\"sender-tests\";r=0;t={}", refused.retry_after()));
    assert_eq!(provider.asked().len(), 10);
    // The other channel has tests of its own.
    ask("email/test", json!({"to": AWA})).await.expect(200);
    let code = provider.asked()[0].json()["code"].as_str().unwrap().to_owned();
    verify_code(gateway.other(), NUMBER, &code).await.refused(400, "code_expired");
    let settings = gateway.admin().get("/tenants/other/settings").bearer(&key).await.expect(200);
    assert_eq!(settings.json, json!({}), "a draft is saved nowhere");
    gateway.audited("senders_tested", 13).await;
}

async fn a_test_goes_nowhere_that_codes_do_not_go(gateway: Gateway) {
    let provider = Provider::always(answer(200, "{}")).await;
    let own = json!({"sms": {"mode": "own", "senders": [http("mine", &provider.url())]}});
    let france = "+33612345678";
    let ask = async |slug: &str, to: &str, settings: &Value| {
        let body = json!({"to": to, "settings": settings});
        gateway.admin().post(&format!("/tenants/{slug}/sms/test"), &body).bearer(ROOT_KEY).await
    };

    // `strict` texts Senegal, `bare` has not said where, and neither may text France in anybody's name.
    for (slug, to) in [("strict", france), ("bare", NUMBER)] {
        for settings in [&json!({}), &own] {
            let refused = ask(slug, to, settings).await.refused(400, "validation");
            let fault = &refused["errors"][0];
            assert_eq!((&fault["pointer"], &fault["code"]), (&json!("/to"), &json!("region_refused")));
            assert!(fault["message"].as_str().unwrap().starts_with("sms.regions: "), "{}", refused.text);
        }
    }
    assert_eq!(provider.asked().len(), 0);

    // What was refused was no test: it is not counted.
    ask("strict", NUMBER, &json!({})).await.expect(200);
    let mut wider = own;
    wider["sms"]["regions"] = json!(["SN", "FR"]);
    for _ in 0..9 {
        ask("strict", france, &wider).await.expect(200);
    }
    ask("strict", france, &wider).await.refused(429, "too_many_requests");
}

async fn a_kill_switch_stops_tests_as_it_stops_codes(gateway: Gateway) {
    let (provider, mail) = (Provider::always(answer(200, "{}")).await, MailServer::start(&[]));
    let own =
        json!({"sms": {"mode": "own", "senders": [http("first", &provider.url()), http("second", &provider.url())]}});
    let with = |stopped: bool| {
        let mut draft = own.clone();
        draft["sms"]["budget"] = json!({"stopped": stopped});
        draft
    };
    let ask = async |gateway: &Gateway, settings: &Value| {
        let body = json!({"to": NUMBER, "settings": settings});
        gateway.admin().post("/tenants/other/sms/test", &body).bearer(ROOT_KEY).await.expect(200)
    };
    let held_back = |told: &crate::harness::client::Answer| {
        assert_eq!(
            (told.word("stage"), told.word("detail")),
            ("sender".to_owned(), "stopped".to_owned()),
            "{}",
            told.text
        );
        assert_eq!(told["senders"][1], json!({"sender": "second", "stage": "sender", "detail": "stopped"}));
    };

    // The tenant's own: what the draft says of it holds.
    held_back(&ask(&gateway, &with(true)).await);
    gateway.admin().patch("/tenants/other/settings", &with(true)).bearer(ROOT_KEY).await.expect(200);
    held_back(&ask(&gateway, &json!({})).await);
    assert_eq!(provider.asked().len(), 0);
    assert_eq!(ask(&gateway, &with(false)).await.word("stage"), "accepted");
    assert_eq!(provider.asked().len(), 2);

    // The operator's, which no draft lifts.
    let gateway = gateway.restart(|config| config.delivery.sms_stopped = true).await;
    // More often than tests may be made: nothing is sent and nothing counted.
    for _ in 0..11 {
        held_back(&ask(&gateway, &with(false)).await);
    }
    assert_eq!(provider.asked().len(), 2);
    let body = json!({"to": AWA, "settings": {"email": {"mode": "own", "senders": [smtp(mail.port)]}}});
    let mailed = gateway.admin().post("/tenants/other/email/test", &body).bearer(ROOT_KEY).await.expect(200);
    assert_eq!(mailed["stage"], "accepted", "{}", mailed.text);
}

async fn limits_and_texts_are_shown(gateway: Gateway) {
    let admin = gateway.admin();
    let key = key_of(&gateway, "other", "tenant-support").await;
    let patch = json!({"limits": {"login-client": {"quota": 7, "window": 60}}});
    admin.patch("/tenants/other/settings", &patch).bearer(ROOT_KEY).await.expect(200);
    gateway.other().post("/auth/request-code", &json!({"phone": NUMBER})).await.expect(200);

    let shown = admin.get("/tenants/other/limits").bearer(&key).await.expect(200);
    let limits = shown["limits"].as_array().unwrap();
    let login = limits.iter().find(|limit| limit["name"] == "login-client").unwrap();
    assert_eq!((&login["requests"], &login["window"], &login["key"]), (&json!(7), &json!(60), &json!("client")));
    assert_eq!((&login["source"], &shown["refused"]), (&json!("tenant"), &json!([])));
    let hour = &shown["sms_budget"]["hour"];
    assert!(hour["messages"] == 1 && hour["most_messages"].as_u64().unwrap() > 1, "{}", shown.text);

    let texts = admin.get("/tenants/other/templates").bearer(&key).await.expect(200);
    assert_eq!(texts["items"].as_array().unwrap().len(), 24);
    let preview = async |body: Value| admin.post("/tenants/other/templates/preview", &body).bearer(&key).await;
    let built_in = preview(json!({"name": "sign_in_code", "locale": "fr"})).await.expect(200);
    assert!(built_in.word("text").contains("OTHER") && built_in["sms"]["parts"] == 1, "{}", built_in.text);
    let own = json!({"name": "sign_in_code", "locale": "fr", "texts": {"sms": "Le code de {{ tenant }} : {{ code }}"}});
    assert!(preview(own).await.expect(200).word("text").starts_with("Le code de OTHER : "));
    let bad = json!({"name": "sign_in_code", "locale": "fr", "texts": {"sms": "Bonjour"}});
    let mail = json!({"name": "sign_in_code", "locale": "fr", "channel": "email"});
    let half = json!({"name": "verification", "texts": {"text": 1}});
    let unknown = json!({"name": "verification", "texts": {"push": "x"}});
    for (body, pointer) in [(bad, "/texts/sms"), (mail, "/channel"), (half, "/texts/text"), (unknown, "/texts/push")] {
        let refused = preview(body).await.refused(400, "validation");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{}", refused.text);
    }
}
