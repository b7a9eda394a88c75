//! What the command line does to tenants and keys, as the real program on a folder of its own.

use std::path::Path;
use std::process::{Command, Output};

const FILE: &str = r#"
[[tenant]]
slug = "acme"
name = "Acme"
domains = ["Login.ACME.test"]
[tenant.settings.otp.sms]
length = 8
[[tenant.settings.email.senders]]
host = "mail.acme.test"
port = 587
security = "starttls"
username = "acme"
password = "canary-of-a-file"
from = "no-reply@acme.test"
[[tenant.apps]]
name = "Shop"
audience = "https://shop.acme.test"
origins = ["https://shop.acme.test"]
"#;

fn guichet(folder: &Path, key_file: Option<&Path>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guichet"));
    command.args(arguments).env_clear().env("GUICHET_DATA_DIR", folder);
    if let Some(file) = key_file {
        command.env("GUICHET_MASTER_KEY_FILE", file);
    }
    command.output().unwrap()
}

/// What it prints, if it ends well.
#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it complains of, if it ends with that code.
#[track_caller]
fn refused(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_file_applied_twice_changes_nothing_the_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tenants.toml");
    std::fs::write(&file, FILE).unwrap();
    let apply = |more: &[&str]| {
        let arguments = [&["tenant", "apply", "-f", file.to_str().unwrap()], more].concat();
        guichet(folder.path(), None, &arguments)
    };

    let would = "would: acme: make the tenant\nwould: acme: change settings: email, otp\nwould: acme: make app Shop\n";
    assert_eq!(done(&apply(&["--dry-run"])), would);
    let first = done(&apply(&[]));
    let shown = done(&guichet(folder.path(), None, &["tenant", "show", "acme"]));
    assert!(shown.contains("\"set\": true") && !shown.contains("sealed"), "{shown}");
    for line in ["acme: make the tenant\n", "acme: change settings: email, otp\n", "acme: make app Shop\n", "secret "] {
        assert!(first.contains(line), "{first}");
    }
    assert_eq!(done(&apply(&[])), "");

    std::fs::write(&file, FILE.replace("length = 8", "length = 9").replace("\"Acme\"", "\"Acme 2\"")).unwrap();
    let would = "would: acme: change name\nwould: acme: change settings: otp\n";
    assert_eq!(done(&apply(&["--dry-run"])), would);
    assert_eq!(done(&apply(&[])), would.replace("would: ", ""));
    std::fs::write(&file, FILE.replace("canary-of-a-file", "another")).unwrap();
    assert!(done(&apply(&[])).contains("change settings: email, otp"));

    std::fs::write(&file, FILE.replace("length = 8", "length = 80")).unwrap();
    assert!(refused(&apply(&[]), 2).contains("/otp/sms/length"));
    std::fs::write(&file, FILE.replace("mail.acme.test", "evil.test").replace("password =", "# password =")).unwrap();
    assert!(refused(&apply(&[]), 2).contains("credential_required"));
    std::fs::write(&file, "[[tenant]]\nslug = \"acme\"\ncolour = 1").unwrap();
    assert!(refused(&apply(&[]), 2).contains("colour"));
    std::fs::write(&file, "password = canary-of-a-file").unwrap();
    assert!(!refused(&apply(&[]), 2).contains("canary"));
}

#[test]
fn a_file_is_applied_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tenants.toml");
    let apply = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let arguments = [&["tenant", "apply", "-f", file.to_str().unwrap()], more].concat();
        guichet(folder.path(), None, &arguments)
    };
    done(&guichet(folder.path(), None, &["tenant", "create", "taken", "--domain", "login.taken.test"]));
    let bad = r#"
        [[tenant]]
        slug = "good"
        domains = ["login.good.test"]
        [[tenant]]
        slug = "Bad_Slug"
        name = ""
        [[tenant]]
        slug = "weak"
        domains = ["free.weak.test", "login.taken.test", "login.good.test"]
        [tenant.settings.otp.sms]
        length = 4
        tries = 9
        [[tenant.apps]]
        name = "Shop"
        audience = "shop"
        origins = ["https://shop.test", "nowhere"]
        [[tenant.apps]]
        name = "Shop 2"
        audience = "shop"
        [[tenant]]
        slug = "good"
    "#;

    for more in [&["--dry-run"][..], &[]] {
        let said = refused(&apply(bad, more), 2);
        let faults: Vec<_> = said.lines().skip(1).map(|line| line.split(')').next().unwrap()).collect();
        let expected = [
            "tenant Bad_Slug: /slug (invalid",
            "tenant Bad_Slug: /name (invalid",
            "tenant weak: /domains/1 (domain_taken",
            "tenant weak: /domains/2 (domain_taken",
            "tenant weak: /settings/otp/sms/length (invalid",
            "tenant weak: /settings/otp/sms/tries (invalid",
            "tenant weak: /apps/0/origins/1 (invalid",
            "tenant weak: /apps/1/audience (repeated",
            "tenant good: /slug (repeated",
        ];
        assert_eq!((said.lines().next(), faults), (Some("guichet: nothing was applied"), expected.to_vec()), "{said}");
    }
    let tenants = done(&guichet(folder.path(), None, &["tenant", "list"]));
    assert_eq!(tenants.lines().count(), 1, "{tenants}");

    // A domain may pass from one tenant to a later one.
    let passed = "[[tenant]]\nslug = \"taken\"\ndomains = []\n\
                  [[tenant]]\nslug = \"heir\"\ndomains = [\"login.taken.test\"]\n";
    done(&apply(passed, &[]));
    assert!(done(&guichet(folder.path(), None, &["tenant", "show", "heir"])).contains("login.taken.test"));
}

#[test]
fn a_document_is_judged_by_the_profile_and_domains_that_come_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tenants.toml");
    let apply = |profile: &str, length: u8, more: &[&str]| {
        let domain = format!("login.{profile}.test");
        let text = format!(
            "[[tenant]]\nslug = \"acme\"\nprofile = \"{profile}\"\ndomains = [\"{domain}\"]\n\
             [tenant.settings]\npublic_url = \"https://{domain}\"\notp.sms.length = {length}\n"
        );
        std::fs::write(&file, text).unwrap();
        let arguments = [&["tenant", "apply", "-f", file.to_str().unwrap()], more].concat();
        guichet(folder.path(), None, &arguments)
    };

    // A new tenant's, too; and neither what was before nor the order of writing stands in the way.
    for more in [&["--dry-run"][..], &[]] {
        assert!(refused(&apply("asvs-l1", 4, more), 2).contains("/settings/otp/sms/length"));
    }
    done(&apply("classic", 4, &[]));
    for more in [&["--dry-run"][..], &[]] {
        assert!(refused(&apply("asvs-l1", 4, more), 2).contains("/settings/otp/sms/length"));
    }
    let would = "would: acme: change profile, domains\nwould: acme: change settings: otp, public_url\n";
    for (profile, length) in [("asvs-l1", 8), ("classic", 4)] {
        assert_eq!(done(&apply(profile, length, &["--dry-run"])), would);
        assert_eq!(done(&apply(profile, length, &[])), would.replace("would: ", ""));
        assert_eq!(done(&apply(profile, length, &[])), "");
    }
}

#[test]
fn a_setting_is_changed_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    done(&guichet(folder.path(), None, &["tenant", "create", "acme"]));
    let set = |words: &[&str]| guichet(folder.path(), None, &[&["tenant", "set", "acme"], words].concat());

    assert_eq!(done(&set(&["otp.sms.length=8", "otp.sms.ttl=120", "region=SN"])), "settings are at version 2\n");
    let shown = done(&guichet(folder.path(), None, &["tenant", "show", "acme"]));
    assert!(shown.contains("\"SN\"") && shown.contains("\"length\": 8"), "{shown}");
    assert_eq!(done(&set(&["region=SN"])), "nothing to change\n");
    assert_eq!(done(&set(&["otp.sms.length=null"])), "settings are at version 3\n");
    assert!(refused(&set(&["otp.sms.length=4"]), 2).contains("/otp/sms/length"));
    assert!(refused(&set(&["otp"]), 2).contains("PATH=VALUE"));
    for twice in
        [["otp.sms=null", "otp.sms.length=8"], ["otp.sms.length=8", "otp.sms=null"], ["region=SN", "region=ML"]]
    {
        assert!(refused(&set(&twice), 2).contains("another word already sets this"));
    }
    let nobodys = guichet(folder.path(), None, &["tenant", "set", "nope", "region=SN"]);
    assert_eq!(refused(&nobodys, 1), "guichet: no tenant `nope`\n");
}

#[test]
fn what_is_sealed_opens_under_the_new_master_key_and_no_longer_under_the_old() {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = (folder.path().join("tenants.toml"), folder.path().join("new.key"));
    let apply = ["tenant", "apply", "-f", file.to_str().unwrap()];
    let rotate = ["key", "rotate-master", "--to-file", key.to_str().unwrap()];
    // An earlier version of the document is sealed as well.
    for text in [FILE.replace("length = 8", "length = 9"), FILE.to_owned()] {
        std::fs::write(&file, text).unwrap();
        done(&guichet(folder.path(), None, &apply));
    }
    // The first makes a key, the second leaves one that is gone: nothing of it is sealed any more.
    for _ in 0..2 {
        done(&guichet(folder.path(), None, &["key", "rotate", "--tenant", "acme", "--compromised"]));
    }

    let said = done(&guichet(folder.path(), None, &rotate));

    assert!(said.contains("sealed anew: 2 settings documents, 1 signing keys"), "{said}");
    assert!(refused(&guichet(folder.path(), None, &["tenant", "list"]), 1).contains("another master key"));
    assert!(refused(&guichet(folder.path(), None, &rotate), 1).contains("another master key"));
    // Only who can open the stored credential knows that the file's is the same.
    assert_eq!(done(&guichet(folder.path(), Some(&key), &apply)), "");
    assert!(refused(&guichet(folder.path(), Some(&key), &rotate), 2).contains("the master key in use"));
}
