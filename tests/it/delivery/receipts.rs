//! Delivery receipts as each provider publishes them.

use base64::Engine as _;
use guichet::crypto::digest::hmac_sha1_holds;
use guichet::delivery::Reason;
use guichet::delivery::sms::ProviderKind;
use guichet::delivery::sms::receipts::{Callback, DeliveryReport, DeliveryState, reports, twilio_signature_holds};
use http::{HeaderMap, HeaderValue, Method};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn headers(kind: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_str(kind).unwrap());
    headers
}

fn posted(provider: ProviderKind, kind: &str, body: &str) -> Vec<DeliveryReport> {
    let headers = headers(kind);
    reports(provider, &Callback { method: &Method::POST, query: "", headers: &headers, body: body.as_bytes() })
}

/// What the one report says.
fn one(provider: ProviderKind, kind: &str, body: &str) -> (String, DeliveryState, Option<String>) {
    let mut reports = posted(provider, kind, body);
    assert_eq!(reports.len(), 1, "{body}");
    let DeliveryReport { reference, state, code } = reports.remove(0);
    (reference, state, code.map(|code| code.to_string()))
}

#[test]
fn twilio_tells_by_form() {
    let form = |status: &str, code: &str| {
        format!(
            "SmsSid=SM1&SmsStatus={status}&MessageStatus={status}&To=%2B221771234567&MessageSid=SM1&ErrorCode={code}"
        )
    };
    let told = |status, code| one(ProviderKind::Twilio, FORM, &form(status, code));

    assert_eq!(told("sent", ""), ("SM1".into(), DeliveryState::Sent, None));
    assert_eq!(told("delivered", ""), ("SM1".into(), DeliveryState::Delivered, None));
    assert_eq!(told("undelivered", "30003"), ("SM1".into(), DeliveryState::Undelivered, Some("30003".into())));
    assert_eq!(told("failed", "30008"), ("SM1".into(), DeliveryState::Undelivered, Some("30008".into())));
    assert_eq!(told("new-word", ""), ("SM1".into(), DeliveryState::Unknown, None));
}

#[test]
fn vonage_tells_by_query_form_or_json() {
    let query = "msisdn=221771234567&to=ACME&network-code=60801&messageId=0A0000001&price=0.03&status=delivered&scts=2001011400&err-code=0&api-key=k&message-timestamp=2020-01-01+12%3A00%3A00";
    let by_get = Callback { method: &Method::GET, query, headers: &HeaderMap::new(), body: b"" };
    let delivered = DeliveryReport { reference: "0A0000001".into(), state: DeliveryState::Delivered, code: None };
    assert_eq!(reports(ProviderKind::Vonage, &by_get), [delivered]);

    let json = r#"{"msisdn":"221771234567","to":"ACME","messageId":"0A0000001","status":"failed","err-code":"6"}"#;
    let failed = ("0A0000001".to_owned(), DeliveryState::Undelivered, Some("6".to_owned()));
    assert_eq!(one(ProviderKind::Vonage, JSON, json), failed);
    assert_eq!(one(ProviderKind::Vonage, FORM, "messageId=0A0000001&status=rejected&err-code=6"), failed);
    assert_eq!(one(ProviderKind::Vonage, FORM, "messageId=1&status=buffered&err-code=0").1, DeliveryState::Sent);
}

#[test]
fn africas_talking_tells_by_form() {
    let form = "id=ATXid_1&status=Success&phoneNumber=%2B221771234567&networkCode=60801&retryCount=0";
    assert_eq!(one(ProviderKind::AfricasTalking, FORM, form), ("ATXid_1".into(), DeliveryState::Delivered, None));
    let form = "id=ATXid_1&status=Failed&phoneNumber=%2B221771234567&failureReason=UserInBlackList";
    let failed = ("ATXid_1".into(), DeliveryState::Undelivered, Some("UserInBlackList".into()));
    assert_eq!(one(ProviderKind::AfricasTalking, FORM, form), failed);
}

#[test]
fn infobip_tells_of_several_at_once() {
    let body = r#"{"results":[
        {"bulkId":"b","messageId":"m1","to":"221771234567","sentAt":"2026-08-01T10:00:00.000+0000",
         "status":{"groupId":3,"groupName":"DELIVERED","id":5,"name":"DELIVERED_TO_HANDSET"},
         "error":{"groupId":0,"groupName":"OK","id":0,"name":"NO_ERROR","permanent":false}},
        {"messageId":"m2","status":{"groupId":2,"groupName":"UNDELIVERABLE","id":9},
         "error":{"groupId":1,"groupName":"HANDSET_ERRORS","id":27,"name":"EC_ABSENT_SUBSCRIBER"}},
        {"messageId":"m3","status":{"groupId":1}},
        {"status":{"groupId":3}}]}"#;

    let told = posted(ProviderKind::Infobip, JSON, body);

    let expected = [
        ("m1", DeliveryState::Delivered, None),
        ("m2", DeliveryState::Undelivered, Some("27")),
        ("m3", DeliveryState::Sent, None),
    ];
    let told: Vec<_> =
        told.iter().map(|r| (r.reference.as_str(), r.state, r.code.as_ref().map(Reason::as_str))).collect();
    assert_eq!(told, expected);
}

#[test]
fn orange_tells_by_json_naming_the_resource() {
    let body = |status: &str| {
        format!(
            r#"{{"deliveryInfoNotification":{{"callbackData":"8ee6b1f4-1d50-4a7d-a2d9-22c5aae32b2f",
            "deliveryInfo":{{"address":"tel:+221771234567","deliveryStatus":"{status}"}}}}}}"#
        )
    };
    let told = |status| one(ProviderKind::Orange, JSON, &body(status));

    assert_eq!(told("DeliveredToTerminal").1, DeliveryState::Delivered);
    assert_eq!(told("DeliveredToNetwork").1, DeliveryState::Sent);
    assert_eq!(told("DeliveryUncertain").1, DeliveryState::Unknown);
    let (reference, state, code) = told("DeliveryImpossible");
    assert_eq!((reference.as_str(), state), ("8ee6b1f4-1d50-4a7d-a2d9-22c5aae32b2f", DeliveryState::Undelivered));
    assert_eq!(code.as_deref(), Some("DeliveryImpossible"));
}

#[test]
fn any_other_provider_tells_reference_status_and_code() {
    let told = one(ProviderKind::Http, JSON, r#"{"reference":"r1","status":"undelivered","code":17}"#);
    assert_eq!(told, ("r1".into(), DeliveryState::Undelivered, Some("17".into())));
}

#[test]
fn what_cannot_be_read_is_no_report() {
    let long = format!("MessageSid={}&MessageStatus=sent", "x".repeat(201));
    for provider in ProviderKind::ALL {
        for body in ["", "{", "null", "[]", "\u{0}\u{1}", "{\"results\":7}", "MessageStatus=sent", "status=x", &long] {
            for kind in [FORM, JSON, "", "text/plain"] {
                assert_eq!(posted(provider, kind, body), [], "{provider:?} {body:?}");
            }
        }
        let not_text =
            Callback { method: &Method::POST, query: "", headers: &headers(FORM), body: &[0xff, 0xfe, b'='] };
        assert_eq!(reports(provider, &not_text), []);
    }
}

#[test]
fn a_reports_code_is_never_free_text() {
    let told = one(ProviderKind::AfricasTalking, FORM, "id=1&status=Failed&failureReason=%2B221771234567+is+off");
    assert_eq!(told.2.as_deref(), Some("other"));
}

/// The example of Twilio's security page, and a call with a pair sent twice; both signed by its own
/// SDK (`RequestValidator`).
#[test]
fn only_twilios_own_signature_holds() {
    let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    let body = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
    let holds = |token: &str, url: &str, body: &str, signature: Option<&str>| {
        let mut headers = headers(FORM);
        if let Some(signature) = signature {
            headers.insert("x-twilio-signature", HeaderValue::from_str(signature).unwrap());
        }
        let callback =
            Callback { method: &Method::POST, query: "foo=1&bar=2", headers: &headers, body: body.as_bytes() };
        twilio_signature_holds(url, &callback, |signed, mac| hmac_sha1_holds(&token.into(), signed, mac))
    };
    let signature = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
    let shuffled = "To=%2B18005551212&From=%2B14158675309&Digits=1234&Caller=%2B14158675309&CallSid=CA1234567890ABCDE";
    let repeated = format!("{body}&Digits=1234");

    assert!(holds("12345", url, body, Some(signature)));
    assert!(holds("12345", url, shuffled, Some(signature)));
    assert!(holds("12345", url, &repeated, Some(signature)));
    assert!(!holds("12346", url, body, Some(signature)));
    assert!(!holds("12345", "https://mycompany.com/myapp.php?foo=1&bar=3", body, Some(signature)));
    assert!(!holds("12345", url, &body.replace("1234&", "1235&"), Some(signature)));
    assert!(!holds("12345", url, &format!("{body}&Extra=1"), Some(signature)));
    assert!(!holds("12345", url, body, None));
    for forged in ["", "RSOYDt4T1cUTdK1PDd93/VVr8B8", "rSOYDt4T1cUTdK1PDd93/VVr8B8=", "AAAA", "***"] {
        assert!(!holds("12345", url, body, Some(forged)), "{forged}");
    }
    let truncated = base64::engine::general_purpose::STANDARD.encode([0x45]);
    assert!(!holds("12345", url, body, Some(&truncated)));
}
