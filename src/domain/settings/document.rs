//! The settings document as admins see and change it: credentials go in and never come out.
//!
//! ```text
//!   Settings ──shown──► what an admin reads: {"set": true, "updated_at": …} for each credential
//!                          │ merged with a JSON merge patch (RFC 7396)
//!                          ▼
//!   Settings ◄─taken_in── strings are sealed, marks and absent members keep what there was
//! ```
//!
//! A credential was given for one place: it is kept only while its sender's kind and target are the
//! same, or an admin who may not read it could have it sent to a server of their own.
//!
//! No text of it holds U+0000, which PostgreSQL's JSON does not know.

use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::{Sealed, Settings, SmsKind, SmsSender, SmtpServer};
use crate::domain::fault::{Fault, escape};
use crate::domain::message;

/// What a credential is sealed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// In `email` or `sms`.
    pub channel: message::Channel,
    /// The sender's name.
    pub sender: &'a str,
    /// The member: `password`, …; a header of kind `http` is `headers.{name}`.
    pub member: &'a str,
}

/// One kind of senders.
struct Channel {
    kind: message::Channel,
    name: &'static str,
    credentials: &'static [&'static str],
    target: &'static [&'static str],
}

const CHANNELS: [Channel; 2] = [
    Channel {
        kind: message::Channel::Email,
        name: "email",
        credentials: SmtpServer::CREDENTIALS,
        target: SmtpServer::TARGET,
    },
    Channel {
        kind: message::Channel::Sms,
        name: "sms",
        credentials: SmsSender::CREDENTIALS,
        target: SmsSender::TARGET,
    },
];

/// The one member that holds a map of credentials.
const HEADERS: &str = "headers";

/// The only kind of mail sender, which need not be named.
const SMTP: &str = "smtp";

/// Applies a JSON merge patch (RFC 7396 §2).
#[must_use]
pub fn merged(target: Value, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let mut members = match target {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (name, change) in patch {
        if change.is_null() {
            members.remove(&name);
        } else {
            let old = members.remove(&name).unwrap_or(Value::Null);
            members.insert(name, merged(old, change));
        }
    }
    Value::Object(members)
}

/// The document as it is stored: credentials sealed.
fn stored(settings: &Settings) -> Value {
    // Maps have text for keys and no number is out of range: writing cannot fail.
    serde_json::to_value(settings).unwrap_or_default()
}

/// The document without its credentials.
#[must_use]
pub fn shown(settings: &Settings) -> Value {
    let mut document = stored(settings);
    for channel in &CHANNELS {
        for sender in senders_mut(&mut document, channel.name) {
            for member in channel.credentials {
                if let Some(credential) = sender.get_mut(*member) {
                    *credential = mark(credential);
                }
            }
            for credential in sender.get_mut(HEADERS).and_then(Value::as_object_mut).into_iter().flatten() {
                *credential.1 = mark(credential.1);
            }
        }
    }
    document
}

/// What is shown of a sealed credential.
fn mark(credential: &Value) -> Value {
    let since: Option<Sealed> = serde_json::from_value(credential.clone()).ok();
    json!({ "set": true, "updated_at": since.map(|sealed| sealed.updated_at.to_rfc3339()) })
}

/// Reads a changed document, in which credentials stand as strings (given now), marks or not at all
/// (kept) or null (cleared). `seal` closes what is given.
///
/// # Errors
/// Every member that cannot be taken; `credential_required` where one must be given anew.
pub fn taken_in(
    before: &Settings,
    mut document: Value,
    mut seal: impl FnMut(Place<'_>, &str) -> Option<Sealed>,
) -> Result<Settings, Vec<Fault>> {
    let mut old = stored(before);
    let mut faults = Vec::new();
    find_unstorable(&document, "", &mut faults);
    for channel in &CHANNELS {
        let known: Vec<_> = senders_mut(&mut old, channel.name).map(|sender| sender.clone()).collect();
        for (at, sender) in senders_mut(&mut document, channel.name).enumerate() {
            let pointer = format!("/{}/senders/{at}", channel.name);
            let name = name_of(sender, channel.name).to_owned();
            let before = known.iter().find(|known| name_of(known, channel.name) == name);
            let is_first = known.is_empty();
            let (faults, seal) = (&mut faults, &mut seal);
            Change { channel, name: &name, before, is_first, pointer, faults, seal }.take_in(sender);
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    serde_path_to_error::deserialize(document)
        .map_err(|error| vec![Fault::of_shape(error.path(), &error.inner().to_string())])
}

/// Every text with a U+0000 in it, names of members included.
fn find_unstorable(value: &Value, pointer: &str, faults: &mut Vec<Fault>) {
    const WHY: &str = "The character U+0000 cannot be stored.";
    match value {
        Value::String(text) if text.contains('\0') => faults.push(Fault::new(pointer, "invalid", WHY)),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                find_unstorable(item, &format!("{pointer}/{at}"), faults);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                let pointer = format!("{pointer}/{}", escape(name));
                if name.contains('\0') {
                    faults.push(Fault::new(pointer.as_str(), "invalid", WHY));
                }
                find_unstorable(value, &pointer, faults);
            }
        }
        _ => {}
    }
}

/// The document with every credential sealed otherwise; none if one of them cannot be.
#[must_use]
pub fn resealed(settings: &Settings, mut reseal: impl FnMut(Place<'_>, &Sealed) -> Option<Sealed>) -> Option<Settings> {
    let mut document = stored(settings);
    for channel in &CHANNELS {
        for sender in senders_mut(&mut document, channel.name) {
            let name = name_of(sender, channel.name).to_owned();
            let mut anew = |member: &str, credential: &mut Value| {
                let sealed: Sealed = serde_json::from_value(credential.take()).ok()?;
                let place = Place { channel: channel.kind, sender: &name, member };
                *credential = serde_json::to_value(reseal(place, &sealed)?).ok()?;
                Some(())
            };
            for member in channel.credentials {
                if let Some(credential) = sender.get_mut(*member) {
                    anew(member, credential)?;
                }
            }
            for (header, credential) in sender.get_mut(HEADERS).and_then(Value::as_object_mut).into_iter().flatten() {
                anew(&format!("{HEADERS}.{header}"), credential)?;
            }
        }
    }
    serde_json::from_value(document).ok()
}

/// The senders of a channel that are objects at all; what is none is refused when it is read.
fn senders_mut<'d>(document: &'d mut Value, channel: &str) -> impl Iterator<Item = &'d mut Map<String, Value>> {
    let senders = document.get_mut(channel).and_then(|channel| channel.get_mut("senders"));
    senders.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// What a sender is matched by.
fn name_of<'s>(sender: &'s Map<String, Value>, channel: &str) -> &'s str {
    let member = |name| sender.get(name).and_then(Value::as_str);
    let usual = if channel == "email" { SMTP } else { member("kind").unwrap_or_default() };
    member("name").unwrap_or(usual)
}

/// One sender on its way in.
struct Change<'c, S> {
    channel: &'c Channel,
    name: &'c str,
    before: Option<&'c Map<String, Value>>,
    /// Whether the channel had no sender before.
    is_first: bool,
    pointer: String,
    faults: &'c mut Vec<Fault>,
    seal: &'c mut S,
}

impl<S: FnMut(Place<'_>, &str) -> Option<Sealed>> Change<'_, S> {
    fn take_in(&mut self, sender: &mut Map<String, Value>) {
        let keeps = Keeps { kind: self.is_same(sender, "kind"), target: self.goes_to_the_same_place(sender) };
        let asked_for = if keeps.kind { &[] } else { self.needed_anew(sender) };
        for member in self.channel.credentials {
            let before = self.before.and_then(|before| before.get(*member)).cloned();
            let given = sender.remove(*member);
            if given.is_none() && asked_for.contains(member) {
                self.require(member);
            } else if let Some(sealed) = self.credential(given, before, keeps, member) {
                sender.insert((*member).to_owned(), sealed);
            }
        }
        self.headers(sender, keeps);
    }

    fn headers(&mut self, sender: &mut Map<String, Value>, keeps: Keeps) {
        let before = self.before.and_then(|before| before.get(HEADERS)).and_then(Value::as_object);
        let before = before.cloned().unwrap_or_default();
        let mut given = match sender.remove(HEADERS) {
            None => Map::new(),
            Some(Value::Object(given)) => given,
            Some(Value::Null) => return,
            Some(_) => return self.refuse(HEADERS, "wrong_type", "This member has the wrong type."),
        };
        let mut kept = Map::new();
        let names: Vec<_> =
            before.keys().chain(given.keys().filter(|name| !before.contains_key(*name))).cloned().collect();
        for name in names {
            let (now, before) = (given.remove(&name), before.get(&name).cloned());
            if let Some(sealed) = self.credential(now, before, keeps, &format!("{HEADERS}.{name}")) {
                kept.insert(name, sealed);
            }
        }
        if !kept.is_empty() {
            sender.insert(HEADERS.to_owned(), Value::Object(kept));
        }
    }

    fn credential(&mut self, given: Option<Value>, before: Option<Value>, keeps: Keeps, member: &str) -> Option<Value> {
        let is_mark = |value: &Value| value.get("set") == Some(&Value::Bool(true)) && value.get("sealed").is_none();
        match (given, before) {
            (Some(Value::String(plain)), _) if !plain.is_empty() => {
                let place = Place { channel: self.channel.kind, sender: self.name, member };
                match (self.seal)(place, &plain).and_then(|sealed| serde_json::to_value(sealed).ok()) {
                    Some(sealed) => return Some(sealed),
                    None => self.refuse(member, "invalid", "This credential cannot be sealed."),
                }
            }
            (Some(Value::String(_)), _) => self.refuse(member, "invalid", "A credential is not empty: null clears it."),
            (Some(Value::Null), _) | (None, None) => {}
            // Another kind has other credentials.
            (None, Some(_)) if !keeps.kind => {}
            (None, Some(before)) if keeps.target => return Some(before),
            (Some(mark), Some(before)) if is_mark(&mark) && keeps.target => return Some(before),
            (Some(other), _) if !is_mark(&other) => {
                self.refuse(member, "wrong_type", "A credential is a string, or null to clear it.");
            }
            _ => self.require(member),
        }
        None
    }

    /// Credentials that a sender needs which is of another kind now, or not matched by any there was; of a
    /// channel's first they are missing like whatever else it needs.
    fn needed_anew(&self, sender: &Map<String, Value>) -> &'static [&'static str] {
        let kind = sender.get("kind").filter(|_| !self.is_first && self.channel.kind == message::Channel::Sms);
        kind.and_then(|kind| SmsKind::deserialize(kind).ok()).map_or(&[], SmsKind::credentials)
    }

    fn goes_to_the_same_place(&self, sender: &Map<String, Value>) -> bool {
        self.channel.target.iter().all(|member| self.is_same(sender, member))
    }

    fn is_same(&self, sender: &Map<String, Value>, member: &str) -> bool {
        let smtp = json!(SMTP);
        let usual = Some(&smtp).filter(|_| self.channel.name == "email" && member == "kind");
        let value =
            |sender: &'_ Map<String, Value>| sender.get(member).or(usual).filter(|value| !value.is_null()).cloned();
        self.before.is_some_and(|before| value(before) == value(sender))
    }

    fn require(&mut self, member: &str) {
        self.refuse(member, "credential_required", "Give it anew: where it goes has changed, or there was none.");
    }

    fn refuse(&mut self, member: &str, code: &'static str, why: &'static str) {
        let steps: String = match member.strip_prefix("headers.") {
            Some(header) => format!("/{HEADERS}/{}", escape(header)),
            None => format!("/{member}"),
        };
        self.faults.push(Fault::new(format!("{}{steps}", self.pointer), code, why));
    }
}

/// What of a sender is as it was.
#[derive(Clone, Copy)]
struct Keeps {
    kind: bool,
    target: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn seal(place: Place<'_>, plain: &str) -> Option<Sealed> {
        let sealed = format!("{}|{}|{}|{plain}", place.channel.as_str(), place.sender, place.member);
        (plain.len() < 100).then_some(Sealed { sealed, updated_at: Timestamp::from_millis(0) })
    }

    fn settings(document: Value) -> Settings {
        taken_in(&Settings::default(), document, seal).unwrap()
    }

    /// The pointers and codes of what is refused, or the sealed texts of what is kept.
    fn patched(before: &Settings, patch: Value) -> Result<Vec<String>, Vec<(String, &'static str)>> {
        let after = taken_in(before, merged(shown(before), patch), seal)
            .map_err(|faults| faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect::<Vec<_>>())?;
        let email = after.email.senders.iter().filter_map(|sender| sender.password.clone());
        let sms = after.sms.senders.iter().flat_map(|sender| {
            let own = [&sender.auth_token, &sender.api_key, &sender.api_secret, &sender.client_secret];
            own.into_iter().flatten().cloned().chain(sender.headers.values().cloned()).collect::<Vec<_>>()
        });
        Ok(email.chain(sms).map(|sealed| sealed.sealed).collect())
    }

    fn smtp(host: &str, password: &Value) -> Value {
        let mut sender =
            json!({"host": host, "port": 587, "security": "starttls", "username": "u", "from": "a@b.test"});
        if *password != json!("absent") {
            sender["password"] = password.clone();
        }
        json!({"email": {"mode": "own", "senders": [sender]}})
    }

    #[test]
    fn a_merge_patch_is_applied_by_the_rfcs_own_table() {
        // RFC 7396, appendix A.
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), Value::Null, Value::Null),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            assert_eq!(merged(target, patch), result);
        }
    }

    #[test]
    fn a_credential_is_never_shown() {
        let settings = settings(json!({
            "email": smtp("mail.a.test", &json!("hunter2"))["email"],
            "sms": {"senders": [{"kind": "http", "url": "https://a.test/", "headers": {"X-Key": "hunter3"}}]},
        }));

        let shown = shown(&settings);

        assert!(!shown.to_string().contains("hunter") && !shown.to_string().contains("sealed"));
        assert_eq!(shown["email"]["senders"][0]["password"]["set"], true);
        assert_eq!(shown["email"]["senders"][0]["password"]["updated_at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(shown["sms"]["senders"][0]["headers"]["X-Key"]["set"], true);
    }

    #[test]
    fn an_absent_credential_is_kept_while_its_target_is_the_same() {
        let before = settings(smtp("mail.a.test", &json!("hunter2")));
        let kept = Ok(vec!["email|smtp|password|hunter2".to_owned()]);
        let required = Err(vec![("/email/senders/0/password".to_owned(), "credential_required")]);

        assert_eq!(patched(&before, json!({"lockout": {"threshold": 3}})), kept);
        assert_eq!(patched(&before, smtp("mail.a.test", &json!("absent"))), kept);
        assert_eq!(patched(&before, smtp("mail.a.test", &json!({"set": true}))), kept);
        assert_eq!(patched(&before, shown(&before)), kept);
        assert_eq!(patched(&before, smtp("evil.test", &json!("absent"))), required);
        assert_eq!(patched(&before, smtp("evil.test", &json!({"set": true}))), required);
        assert_eq!(patched(&before, smtp("evil.test", &json!("new"))), Ok(vec!["email|smtp|password|new".to_owned()]));
        assert_eq!(patched(&before, smtp("evil.test", &Value::Null)), Ok(vec![]));
        for (member, value) in [("port", json!(465)), ("security", json!("tls"))] {
            let mut moved = smtp("mail.a.test", &json!("absent"));
            moved["email"]["senders"][0][member] = value;
            assert_eq!(patched(&before, moved), required, "{member}");
        }
        let mut renamed = smtp("mail.a.test", &json!({"set": true}));
        renamed["email"]["senders"][0]["name"] = json!("other");
        assert_eq!(patched(&before, renamed), required);
    }

    #[test]
    fn a_header_is_a_credential_like_any_other() {
        let sender = |url: &str, headers: Value| {
            let mut sender = json!({"kind": "http", "url": url});
            if !headers.is_null() {
                sender["headers"] = headers;
            }
            json!({"sms": {"senders": [sender]}})
        };
        let before = settings(sender("https://a.test/", json!({"A": "1", "B": "2"})));
        let sealed = |headers: &[&str]| Ok(headers.iter().map(|header| format!("sms|http|headers.{header}")).collect());

        assert_eq!(patched(&before, sender("https://a.test/", Value::Null)), sealed(&["A|1", "B|2"]));
        assert_eq!(patched(&before, sender("https://a.test/", json!({"A": "3"}))), sealed(&["A|3", "B|2"]));
        assert_eq!(patched(&before, sender("https://a.test/", json!({"A": null}))), sealed(&["B|2"]));
        let both = ["A", "B"].map(|name| (format!("/sms/senders/0/headers/{name}"), "credential_required"));
        assert_eq!(patched(&before, sender("https://evil.test/", Value::Null)), Err(both.to_vec()));
    }

    #[test]
    fn another_kind_needs_none_of_the_old_credentials() {
        let before = settings(json!({"sms": {"senders": [
            {"kind": "twilio", "name": "main", "account_sid": "AC1", "auth_token": "t", "from": "+1"}]}}));
        let after = json!({"sms": {"senders": [
            {"kind": "vonage", "name": "main", "api_key": "k", "api_secret": "s", "from": "Acme"}]}});

        let kept = patched(&before, after).unwrap();

        assert_eq!(kept, ["sms|main|api_key|k", "sms|main|api_secret|s"]);
        let http = json!({"sms": {"senders": [{"kind": "http", "name": "main", "url": "https://a.test/"}]}});
        assert_eq!(patched(&before, http), Ok(vec![]));
    }

    #[test]
    fn another_kind_is_asked_for_the_credentials_of_its_own() {
        let of = |kind: &str| json!({"sms": {"senders": [{"kind": kind, "name": "main", "from": "+1"}]}});
        let given = |mut sender: Value, credential: &str, value: Value| {
            sender["sms"]["senders"][0][credential] = value;
            sender
        };
        let required = |members: &[&str]| {
            let member = |member| (format!("/sms/senders/0/{member}"), "credential_required");
            Err(members.iter().map(member).collect::<Vec<_>>())
        };
        let before = settings(given(of("twilio"), "auth_token", json!("t")));

        for (kind, needed) in [
            ("vonage", &["api_key", "api_secret"][..]),
            ("orange", &["client_secret"]),
            ("africastalking", &["api_key"]),
            ("infobip", &["api_key"]),
        ] {
            assert_eq!(patched(&before, of(kind)), required(needed), "{kind}");
        }
        assert_eq!(patched(&before, given(of("vonage"), "api_key", json!("k"))), required(&["api_secret"]));
        assert_eq!(patched(&before, given(of("infobip"), "api_key", json!({"set": true}))), required(&["api_key"]));
        // Cleared is not absent, and the first was never given: whoever judges the whole tells what is missing.
        assert_eq!(patched(&before, given(of("infobip"), "api_key", Value::Null)), Ok(vec![]));
        assert_eq!(patched(&Settings::default(), of("infobip")), Ok(vec![]));
        let mut renamed = of("infobip");
        renamed["sms"]["senders"][0]["name"] = json!("other");
        assert_eq!(patched(&before, renamed), required(&["api_key"]));
        let from_http = settings(json!({"sms": {"senders": [
            {"kind": "http", "name": "main", "url": "https://a.test/", "headers": {"A": "1"}}]}}));
        assert_eq!(patched(&from_http, of("twilio")), required(&["auth_token"]));
    }

    #[test]
    fn no_text_holds_what_cannot_be_stored() {
        let patch = json!({
            "region": "S\0",
            "templates": {"sign_in_code": {"fr": {"sms": "{{ code }}\0"}}},
            "email": {"senders": [{"host": "a.test", "username": "\0", "password": "\0"}]},
            "sms": {"senders": [{"kind": "http", "headers": {"A\0": "1"}, "body": {"a": ["b", "\0"], "c": 1}}]},
        });

        let mut refused = patched(&Settings::default(), patch).unwrap_err();

        refused.sort_unstable();
        let pointers = [
            "/email/senders/0/password",
            "/email/senders/0/username",
            "/region",
            "/sms/senders/0/body/a/1",
            "/sms/senders/0/headers/A\0",
            "/templates/sign_in_code/fr/sms",
        ];
        assert_eq!(refused, pointers.map(|pointer| (pointer.to_owned(), "invalid")));
    }

    #[test]
    fn a_sealed_text_is_not_taken_from_outside() {
        let before = settings(smtp("mail.a.test", &json!("hunter2")));
        for forged in
            [json!({"sealed": "x", "updated_at": 0}), json!({"set": true, "sealed": "x"}), json!(1), json!([])]
        {
            let refused = patched(&before, smtp("mail.a.test", &forged)).unwrap_err();
            assert_eq!(refused, [("/email/senders/0/password".to_owned(), "wrong_type")], "{forged}");
        }
        let huge = patched(&before, smtp("mail.a.test", &json!("x".repeat(100)))).unwrap_err();
        assert_eq!(huge[0].1, "invalid");
        let empty = patched(&before, smtp("mail.a.test", &json!(""))).unwrap_err();
        assert_eq!(empty[0].1, "invalid");
    }

    #[test]
    fn every_credential_is_sealed_otherwise_and_nothing_else_changes() {
        let before = settings(json!({
            "region": "SN",
            "email": smtp("mail.a.test", &json!("1"))["email"],
            "sms": {"senders": [{"kind": "http", "url": "https://a.test/", "headers": {"A": "2"}}]},
        }));
        let mut seen = Vec::new();
        let after = resealed(&before, |place, sealed| {
            seen.push(format!("{}/{}/{}", place.channel.as_str(), place.sender, place.member));
            Some(Sealed { sealed: format!("new {}", sealed.sealed), updated_at: sealed.updated_at })
        });

        assert_eq!(seen, ["email/smtp/password", "sms/http/headers.A"]);
        let after = after.unwrap();
        assert_eq!(after.sms.senders[0].headers["A"].sealed, "new sms|http|headers.A|2");
        assert_eq!(shown(&after), shown(&before));
        assert!(resealed(&before, |_, _| None).is_none());
    }

    #[test]
    fn what_has_the_wrong_shape_is_named() {
        let before = Settings::default();
        for (patch, pointer, code) in [
            (json!({"lockuot": {}}), "/lockuot", "unknown_member"),
            (json!({"otp": {"sms": {"lenght": 4}}}), "/otp/sms/lenght", "unknown_member"),
            (json!({"otp": {"sms": {"length": "4"}}}), "/otp/sms/length", "wrong_type"),
            (json!({"otp": 4}), "/otp", "wrong_type"),
            (json!({"sms": {"senders": [1]}}), "/sms/senders/0", "wrong_type"),
            (json!({"sms": {"senders": [{"kind": "pigeon"}]}}), "/sms/senders/0/kind", "invalid"),
            (json!({"email": {"senders": [{}]}}), "/email/senders/0/host", "missing"),
            (json!({"templates": []}), "/templates", "wrong_type"),
            (json!({"templates": {"max_parts": "2"}}), "/templates/max_parts", "wrong_type"),
            (json!({"templates": {"sign_in_kode": {}}}), "/templates/sign_in_kode", "unknown_member"),
            (json!({"templates": {"sign_in_code": {"de": {}}}}), "/templates/sign_in_code/de", "unknown_member"),
            (json!({"templates": {"sign_in_code": {"fr": "x"}}}), "/templates/sign_in_code/fr", "wrong_type"),
            (
                json!({"templates": {"sign_in_code": {"fr": {"push": "x"}}}}),
                "/templates/sign_in_code/fr/push",
                "unknown_member",
            ),
            (
                json!({"templates": {"sign_in_code": {"fr": {"sms": 1}}}}),
                "/templates/sign_in_code/fr/sms",
                "wrong_type",
            ),
        ] {
            assert_eq!(patched(&before, patch), Err(vec![(pointer.to_owned(), code)]));
        }
    }
}
