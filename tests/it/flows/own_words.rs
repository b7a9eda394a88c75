//! Messages in a tenant's own words, and where their links lead.

use serde_json::json;

use super::{AWA, NUMBER, PASSWORD, log_in, register};
use crate::harness::gateway::{Gateway, PUBLIC_URL, on_every_back_end};

on_every_back_end!(
    a_code_comes_in_the_tenant_s_words_and_is_still_bound_to_its_domain,
    a_mail_comes_in_the_tenant_s_words_in_text_and_html,
    a_stored_text_that_is_broken_gives_way_to_the_built_in,
    no_header_decides_where_a_link_leads,
);

async fn a_code_comes_in_the_tenant_s_words_and_is_still_bound_to_its_domain(gateway: Gateway) {
    let door = gateway.door("/t/worded");
    door.post("/auth/request-code", &json!({"phone": NUMBER})).language("fr").await.expect(200);

    let message = gateway.inbox.next(NUMBER).await;

    let code = message.code(4);
    assert_eq!(message.text, format!("WORDED : votre code est {code}.\n\n@id.worded.test #{code}"));
    let verified = door.post("/auth/verify-code", &json!({"phone": NUMBER, "code": code})).await.expect(200);
    assert_eq!(verified["message"], "User not registered");
}

async fn a_mail_comes_in_the_tenant_s_words_in_text_and_html(gateway: Gateway) {
    let door = gateway.door("/t/worded");
    register(door, AWA).await.expect(201);

    let mail = gateway.inbox.next(AWA).await;

    assert!(mail.text.starts_with("Hello,\n\nhttps://id.worded.test/api/auth/verify/"), "{}", mail.text);
    let answer = door.get(&format!("/api/auth/verify/{}", mail.token())).await.expect(200);
    assert!(answer["message"].is_string());
}

async fn a_stored_text_that_is_broken_gives_way_to_the_built_in(gateway: Gateway) {
    let door = gateway.door("/t/worded");
    register(door, AWA).await.expect(201);
    let token = gateway.inbox.next(AWA).await.token();
    door.get(&format!("/api/auth/verify/{token}")).await.expect(200);

    log_in(door, AWA, PASSWORD).await.expect(200);

    let mail = gateway.inbox.next_with(AWA, "new device").await;
    assert!(mail.text.starts_with(&mail.code(6)), "{}", mail.text);
}

async fn no_header_decides_where_a_link_leads(gateway: Gateway) {
    for (tenant, base) in [("default", format!("{PUBLIC_URL}/t/default")), ("worded", "https://id.worded.test".into())]
    {
        for (header, value) in [
            ("host", "evil.test"),
            ("x-forwarded-host", "evil.test"),
            ("forwarded", "host=evil.test;proto=https"),
            ("x-original-host", "evil.test"),
            ("origin", "https://evil.test"),
            ("referer", "https://evil.test/"),
        ] {
            let door = gateway.door(if tenant == "worded" { "/t/worded" } else { "/t/default" });
            let email = format!("{header}@example.com");
            let body = json!({"username": "awa", "email": email, "password": PASSWORD});
            door.post("/api/auth/register", &body).header(header, value).await.expect(201);

            let text = gateway.inbox.next(&email).await.text;

            assert!(!text.contains("evil"), "{header}: {text}");
            assert!(text.contains(&format!("{base}/api/auth/verify/")), "{header}: {text}");
        }
    }
}
