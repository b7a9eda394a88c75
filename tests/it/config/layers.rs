//! Which source wins, and how each is read.

use std::time::Duration;

use guichet::config::{Config, Overrides, Variables};
use guichet::secret::ExposeSecret;

use super::{Written, from_environment};

#[test]
fn with_nothing_set_the_defaults_run() {
    let config = from_environment(&[]).unwrap();

    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    assert!(config.console_sender());
    assert_eq!(config.http.platform_url(config.http.listen), "http://127.0.0.1:3000");
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let written =
        Written::new("[http]\nlisten = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:1001\"\nbody_timeout = \"1s\"");
    let variables: Variables =
        [("GUICHET_LISTEN", "127.0.0.1:2"), ("GUICHET_ADMIN_LISTEN", "127.0.0.1:1002")].into_iter().collect();
    let flags = Overrides { listen: Some("127.0.0.1:3".parse().unwrap()), ..Overrides::default() };

    let config = Config::load(Some(&written.dir.path().join("guichet.toml")), &variables, &flags).unwrap();

    assert_eq!(config.http.listen.port(), 3);
    assert_eq!(config.http.admin_listen.port(), 1002);
    assert_eq!(config.http.body_timeout, Duration::from_secs(1));
    assert_eq!(config.http.idle_timeout, Duration::from_mins(1));
}

#[test]
fn sms_providers_come_as_tables_as_a_variable_or_in_a_file_and_show_no_credential() {
    let tables = "[[delivery.sms]]\nkind = \"vonage\"\napi_key = \"hunter2\"\napi_secret = \"hunter3\"\nfrom = \"Acme\"\n\
                  [[delivery.sms]]\nkind = \"http\"\nurl = \"https://a.test/\"\nheaders = { X-Key = \"hunter4\" }\n";
    let json = r#"[{"kind":"vonage","api_key":"hunter2","api_secret":"hunter3","from":"Acme"},
                   {"kind":"http","url":"https://a.test/","headers":{"X-Key":"hunter4"}}]"#;
    let written = Written::new("");
    let file = written.file("sms.json", json);

    for config in [
        Written::new(tables).load(&[]).unwrap(),
        from_environment(&[("GUICHET__DELIVERY__SMS", json)]).unwrap(),
        from_environment(&[("GUICHET__DELIVERY__SMS_FILE", file.to_str().unwrap())]).unwrap(),
    ] {
        let mut given = Vec::new();
        let seal = |place: guichet::domain::settings::document::Place<'_>, plain: &str| {
            given.push(format!("{}.{} {plain}", place.sender, place.member));
            Some(guichet::domain::settings::Sealed {
                sealed: String::new(),
                updated_at: guichet::domain::time::Timestamp::from_millis(0),
            })
        };
        let providers = config.delivery.sms.clone().unwrap().read(seal).unwrap();
        assert_eq!(providers.iter().map(|one| one.name().to_owned()).collect::<Vec<_>>(), ["vonage", "http"]);
        given.sort();
        assert_eq!(given, ["http.headers.X-Key hunter4", "vonage.api_key hunter2", "vonage.api_secret hunter3"]);
        let shown = serde_json::to_string(&config).unwrap();
        for text in [shown.clone(), format!("{config:?}")] {
            assert!(!text.contains("hunter"), "{text}");
        }
        assert_eq!(shown.matches("[REDACTED]").count(), 3, "{shown}");
    }
}

#[test]
fn every_kind_of_value_can_be_a_variable() {
    let config = from_environment(&[
        ("GUICHET_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7"),
        ("GUICHET__CRYPTO__HASH_THREADS", "3"),
        ("GUICHET__DATABASE__MIGRATE", "false"),
        ("GUICHET__DELIVERY__CONSOLE", "true"),
        ("GUICHET__DELIVERY__SMTP__HOST", "smtp.example.com"),
        ("GUICHET__DELIVERY__SMTP__FROM", "no-reply@example.com"),
        ("GUICHET__DELIVERY__SMTP__USERNAME", "true"),
        ("GUICHET__DELIVERY__SMTP__PASSWORD", "12345"),
        ("GUICHET__REDIS__RESPONSE_TIMEOUT", "1500ms"),
        ("RUST_LOG", "guichet=debug"),
    ])
    .unwrap();

    let proxies: Vec<String> = config.http.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.0.2.7/32"]);
    assert_eq!(config.crypto.hash_threads.unwrap().get(), 3);
    assert!(!config.database.migrate);
    assert_eq!(config.delivery.console, Some(true));
    assert_eq!(config.delivery.smtp.username.as_deref(), Some("true"));
    assert_eq!(config.delivery.smtp.password.unwrap().expose_secret(), "12345");
    assert_eq!(config.redis.response_timeout, Duration::from_millis(1_500));
    assert_eq!(config.log.filter, "guichet=debug");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let config = from_environment(&[("GUICHET_LISTEN", ""), ("DATABASE_URL", ""), ("GUICHET__NO__SUCH", "")]).unwrap();

    assert_eq!(config.http.listen.port(), 3000);
    assert!(config.database.url.is_none());
}

#[test]
fn variables_of_others_are_left_alone() {
    assert!(from_environment(&[("PATH", "/bin"), ("GUICHET_PORT_3000_TCP", "tcp://10.0.0.1:3000")]).is_ok());
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let written = Written::new("");
    let file = written.file("url", "postgres://guichet:hunter2@db/guichet\r\n");

    let config = written.load(&[("DATABASE_URL_FILE", file.to_str().unwrap())]).unwrap();

    assert_eq!(config.database.url.unwrap().expose_secret(), "postgres://guichet:hunter2@db/guichet");
}

#[test]
fn a_secret_in_the_environment_wins_over_a_secret_file_in_the_file() {
    let written = Written::new("[admin]\nkey_file = \"/nowhere\"");

    let config = written.load(&[("GUICHET_ADMIN_KEY", "from-the-environment")]).unwrap();

    assert_eq!(config.admin.key.unwrap().expose_secret(), "from-the-environment");
}

#[test]
fn the_default_tenant_can_be_none() {
    let config = Written::new("[tenants]\ndefault = \"\"").load(&[]).unwrap();

    assert_eq!(config.tenants.default_slug(), None);
}

#[test]
fn the_platform_url_is_the_public_one_without_a_slash() {
    let config = from_environment(&[("GUICHET__HTTP__PUBLIC_URL", "https://login.example.com/")]).unwrap();

    assert_eq!(config.http.platform_url("0.0.0.0:3000".parse().unwrap()), "https://login.example.com");
}

#[test]
fn printing_the_settings_shows_no_secret() {
    let config = from_environment(&[
        ("DATABASE_URL", "postgres://guichet:hunter2@db/guichet"),
        ("REDIS_URL", "redis://:hunter2@cache"),
        ("GUICHET_ADMIN_KEY", "hunter2"),
        ("GUICHET_MASTER_KEY", "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnQ="),
        ("GUICHET__DELIVERY__SMTP__HOST", "smtp.example.com"),
        ("GUICHET__DELIVERY__SMTP__FROM", "no-reply@example.com"),
        ("GUICHET__DELIVERY__SMTP__USERNAME", "guichet"),
        ("GUICHET__DELIVERY__SMTP__PASSWORD", "hunter2"),
    ])
    .unwrap();

    let printed = format!("{config:?}{}", serde_json::to_string(&config).unwrap());

    assert!(!printed.contains("hunter2") && !printed.contains("aHVudGVy"), "{printed}");
}
