//! Bad settings, and the exact words of every complaint: what an operator reads is product.

use super::{Written, from_environment};

const SMTP: &str = "[delivery.smtp]\nhost = \"smtp.example.com\"\nfrom = \"no-reply@example.com\"\n";

/// The complaints about a file that holds `toml`.
fn complaints(toml: &str) -> String {
    Written::new(toml).load(&[]).unwrap_err().to_string()
}

/// The complaints about an environment.
fn complaints_about(variables: &[(&str, &str)]) -> String {
    from_environment(variables).unwrap_err().to_string()
}

#[test]
fn all_problems_of_all_sources_are_reported_at_once() {
    let written = Written::new(
        r#"
        colour = "blue"
        [http]
        lisen = "127.0.0.1:3000"
        body_timeout = 10
        [crypto]
        hash_queue = 0
        argon2 = { memory_kib = "lots" }
        [redis]
        cluster = true
        "#,
    );

    let problems = written.load(&[("GUICHET_LISTEN", "abc"), ("GUICHET_LISTN", "127.0.0.1:1")]).unwrap_err();

    assert_eq!(
        problems.to_string(),
        r#"GUICHET_LISTN: unknown variable
colour: unknown key; the top level has actors, admin, crypto, data, database, delivery, http, limits, log, outbound, redis, tenants
crypto.argon2.memory_kib: invalid type: string "lots", expected u32
crypto.hash_queue: invalid value: integer `0`, expected a nonzero usize
http.body_timeout: must be a length of time with its unit, as "5s", "300ms" or "30m"
http.lisen: unknown key; [http] has admin_listen, body_limit_bytes, body_timeout, drain_timeout, head_limit_bytes, header_timeout, idle_timeout, listen, max_connections, max_connections_per_peer, max_in_flight, public_url, request_timeout, trusted_proxies
http.listen: invalid socket address syntax, not "abc" (from GUICHET_LISTEN)
redis.cluster: needs redis.url"#
    );
    assert_eq!(problems.as_slice().len(), 8);
}

#[test]
fn values_that_no_key_can_hold() {
    for (toml, words) in [
        ("http = 3000", "http: is a section: write [http]"),
        ("[http]\nlisten = 3000", "http.listen: invalid type: integer `3000`, expected socket address"),
        ("[http]\nidle_timeout = \"0s\"", "http.idle_timeout: must be longer than nothing, not \"0s\""),
        ("[http]\ntrusted_proxies = [\"lan\"]", "http.trusted_proxies: \"lan\" is no network such as \"10.0.0.0/8\""),
        ("[http]\npublic_url = \"login\"", "http.public_url: relative URL without a base: \"login\""),
        ("[database]\nmigrate = \"yes\"", "database.migrate: invalid type: string \"yes\", expected a boolean"),
        ("[log]\nformat = \"xml\"", "log.format: unknown variant `xml`, expected one of `auto`, `json`, `text`"),
        ("[delivery.smtp]\nport = 70000", "delivery.smtp.port: invalid value: integer `70000`, expected u16"),
    ] {
        assert!(complaints(toml).starts_with(words), "{} is not\n{words}", complaints(toml));
    }
}

#[test]
fn values_that_contradict_their_section() {
    for (toml, words) in [
        (
            "[http]\nadmin_listen = \"127.0.0.1:3000\"",
            "http.admin_listen: 127.0.0.1:3000 is the public listener's address",
        ),
        ("[http]\nrequest_timeout = \"5s\"", "actors.ask_timeout: must be shorter than http.request_timeout"),
        ("[http]\nhead_limit_bytes = 100", "http.head_limit_bytes: must be at least 8192"),
        (
            "[http]\npublic_url = \"https://example.com/login\"",
            "http.public_url: must be only scheme, host and port, as \"https://login.example.com\"",
        ),
        ("[admin]\nkey = \"two words\"", "admin.key: must be printable ASCII without spaces: it travels in a header"),
        ("[data]\ndir = \"\"", "data.dir: must not be empty"),
        ("[database]\nurl = \"mysql://db\"", "database.url: must begin with postgres:// or sqlite:"),
        ("[redis]\nurl = \"cache:6379\"", "redis.url: must begin with redis:// or rediss://"),
        ("[redis]\nwait_replicas = 1", "redis.wait_replicas: needs redis.url"),
        ("[redis]\nkey_prefix = \"{a}\"", "redis.key_prefix: must be letters, digits and any of - _ . :"),
        (
            "[crypto]\nmaster_key = \"c2hvcnQ=\"",
            "crypto.master_key: must be base64 of 32 bytes, as `openssl rand -base64 32` prints",
        ),
        (
            "[crypto.argon2]\nmemory_kib = 8192",
            "crypto.argon2.memory_kib: must be at least 19456 with iterations = 2 (ASVS 5.0, appendix C)",
        ),
        (
            "[crypto.argon2]\niterations = 1",
            "crypto.argon2.memory_kib: must be at least 47104 with iterations = 1 (ASVS 5.0, appendix C)",
        ),
        ("[crypto.argon2]\nparallelism = 0", "crypto.argon2.parallelism: must be from 1 to 16"),
        ("[crypto]\nhash_max_wait = \"8s\"", "crypto.hash_max_wait: must be shorter than actors.ask_timeout"),
        ("[actors]\nask_timeout = \"10s\"", "actors.ask_timeout: must be shorter than http.request_timeout"),
        (
            "[tenants]\ndefault = \"Our Shop\"",
            "tenants.default: must be at most 63 lower-case letters, digits and inner hyphens",
        ),
        (
            "[log]\nfilter = \"guichet=loud\"",
            "log.filter: error parsing level filter: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5, in \"guichet=loud\"",
        ),
    ] {
        assert_eq!(complaints(toml), words);
    }
}

#[test]
fn a_mail_server_that_cannot_work() {
    for (line, words) in [
        ("username = \"u\"", "delivery.smtp.password: is missing: delivery.smtp.username is set"),
        ("password = \"p\"", "delivery.smtp.username: is missing: delivery.smtp.password is set"),
        ("reply_to = \"us\"", "delivery.smtp.reply_to: must be an e-mail address"),
        ("port = 0", "delivery.smtp.port: must be from 1 to 65535"),
        ("security = \"none\"", "delivery.smtp.security: \"none\" is only for hosts in outbound.allow"),
    ] {
        assert_eq!(complaints(&format!("{SMTP}{line}")), words);
    }
    assert_eq!(
        complaints("[delivery.smtp]\nhost = \"mail\""),
        "delivery.smtp.from: must be an e-mail address, as \"no-reply@example.com\""
    );
    assert_eq!(complaints("[delivery.smtp]\nfrom = \"a@example.com\""), "delivery.smtp.host: is missing");
}

#[test]
fn sms_providers_are_read_as_a_tenants_own_are() {
    let list = "delivery.sms: must be tables [[delivery.sms]], or a list of them in JSON";
    assert_eq!(complaints("[delivery]\nsms = \"hunter2\""), list);
    assert_eq!(complaints("[delivery.sms]\nkind = \"twilio\""), list);
    assert_eq!(
        complaints_about(&[("GUICHET__DELIVERY__SMS", "{\"auth_token\":\"hunter2\"}")]),
        format!("{list} (from GUICHET__DELIVERY__SMS)")
    );
    assert_eq!(complaints("[[delivery.sms]]"), "delivery.sms[0].kind: This member is required.");
    assert_eq!(complaints("[delivery]\nsms = []"), "delivery.sms: names no provider");
    assert_eq!(
        complaints("[[delivery.sms]]\nkind = \"http\"\nurl = \"https://a.test/\"\ntokn = \"hunter2\""),
        "delivery.sms[0].tokn: There is no such member."
    );
    assert_eq!(
        complaints("[[delivery.sms]]\nkind = \"orange\"\n[[delivery.sms]]\nkind = \"http\""),
        "delivery.sms[0].client_id: kind orange needs it\ndelivery.sms[0].client_secret: kind orange needs it\n\
         delivery.sms[0].from: kind orange needs it\ndelivery.sms[1].url: kind http needs it"
    );
}

#[test]
fn a_mail_server_in_the_clear_must_be_in_an_allowed_network() {
    let relay = |allow: &str| {
        let toml = "host = \"10.0.0.5\"\nfrom = \"no-reply@example.com\"\nsecurity = \"none\"";
        Written::new(&format!("[outbound]\nallow = [{allow}]\n[delivery.smtp]\n{toml}")).load(&[])
    };

    assert!(relay("\"10.0.0.0/24\"").is_ok());
    assert!(relay("\"10.1.0.0/24\"").is_err());
}

#[test]
fn a_public_listener_without_a_way_to_send_is_refused() {
    assert_eq!(
        complaints_about(&[("GUICHET_LISTEN", "0.0.0.0:3000")]),
        "delivery.console: no way to send a message: http.listen is 0.0.0.0:3000, where the console sender is off by \
         default; configure [delivery.smtp] or [[delivery.sms]], or set delivery.console = true"
    );
    assert_eq!(
        complaints_about(&[("GUICHET__DELIVERY__CONSOLE", "false")]),
        "delivery.console: no way to send a message: http.listen is 127.0.0.1:3000, where the console sender is \
         switched off; configure [delivery.smtp] or [[delivery.sms]], or set delivery.console = true (from GUICHET__DELIVERY__CONSOLE)"
    );
    assert!(from_environment(&[("GUICHET_LISTEN", "0.0.0.0:3000"), ("GUICHET__DELIVERY__CONSOLE", "true")]).is_ok());
    assert!(Written::new(&format!("[http]\nlisten = \"[::]:3000\"\n{SMTP}")).load(&[]).is_ok());
}

#[test]
fn a_secret_by_value_and_by_file_contradicts_itself() {
    assert_eq!(
        complaints_about(&[("GUICHET_ADMIN_KEY", "k"), ("GUICHET_ADMIN_KEY_FILE", "/nowhere")]),
        "admin.key: give the value or admin.key_file, not both (from GUICHET_ADMIN_KEY_FILE)"
    );
}

#[test]
fn a_key_set_under_both_its_names_contradicts_itself() {
    assert_eq!(
        complaints_about(&[("GUICHET_LISTEN", "127.0.0.1:1"), ("GUICHET__HTTP__LISTEN", "127.0.0.1:2")]),
        "http.listen: set by both GUICHET_LISTEN and GUICHET__HTTP__LISTEN"
    );
}

#[test]
fn a_secret_file_that_is_missing_or_empty() {
    let written = Written::new("");
    let empty = written.file("empty", "\n");
    let (empty, missing) = (empty.to_str().unwrap(), "/nowhere/key");

    let problems =
        written.load(&[("GUICHET_ADMIN_KEY_FILE", empty), ("GUICHET_MASTER_KEY_FILE", missing)]).unwrap_err();

    assert_eq!(
        problems.to_string(),
        format!(
            "admin.key_file: {empty} is empty (from GUICHET_ADMIN_KEY_FILE)\ncrypto.master_key_file: {missing} cannot \
             be read: No such file or directory (os error 2) (from GUICHET_MASTER_KEY_FILE)"
        )
    );
}

#[test]
fn a_bad_secret_is_never_cited() {
    let toml = "[admin]\nkey = 8675309\n[database]\nurl = \"mysql://u:hunter2@db\"\n[crypto]\nmaster_key = \"hunter2\"";

    let words = complaints(toml);

    assert!(words.contains("admin.key: must be a text in quotes"), "{words}");
    assert!(!words.contains("8675309") && !words.contains("hunter2"), "{words}");
}

#[test]
fn a_file_that_is_no_toml_names_the_line_and_cites_nothing() {
    let words = complaints("[admin]\nkey = hunter2 oops\n");

    assert!(words.contains("guichet.toml: line 2: "), "{words}");
    assert!(!words.contains("hunter2"), "{words}");
}

#[test]
fn a_file_that_is_not_there() {
    let path = std::path::Path::new("/nowhere/guichet.toml");

    let problems = guichet::config::Config::load(
        Some(path),
        &std::iter::empty::<(&str, &str)>().collect(),
        &guichet::config::Overrides::default(),
    );

    assert_eq!(
        problems.unwrap_err().to_string(),
        "/nowhere/guichet.toml: cannot be read: No such file or directory (os error 2)"
    );
}
