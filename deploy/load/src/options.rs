//! What is asked for on the command line, and what is refused before anything is sent.
//!
//! The bounds keep a slip of the finger from becoming an attack: without a word about whose host
//! it is, only this machine is driven, not fast and not for long.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, ValueEnum};
use reqwest::Url;

/// Where `guichet serve` leaves its root key, when run from the same folder.
const ROOT_KEY: &str = "data/root.key";

/// Most arrivals a second, without and with `--i-own-this-host`.
const MOST_RATE: (u32, u32) = (2_000, 50_000);

/// Longest run, without and with `--i-own-this-host`.
const LONGEST: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(3_600));

/// What arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Scenario {
    /// A new number: a code asked for, answered, and registered.
    SignUp,
    /// A known phone: a code asked for and answered.
    Code,
    /// E-mail and password, on a known device.
    LogIn,
    /// A refresh token traded for a new pair.
    Refresh,
    /// A gateway asks about an access token (`/forward-auth`).
    TokenCheck,
    /// Above a limit: is it exact, and is Retry-After true?
    Limits,
    /// All of them but `limits`: 70 % checks, 15 % refreshes, 9 % log-ins, 3 % codes, 3 % sign-ups.
    Mixed,
}

impl Scenario {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Drives a running guichet with test identities, at a rate that does not slow when the server does.
#[derive(Debug, Parser)]
#[command(name = "guichet-load", version)]
pub(crate) struct Options {
    /// The public listener
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    pub(crate) url: Url,

    /// The admin listener, where the tenants of the run are made and deleted
    #[arg(long, default_value = "http://127.0.0.1:3001")]
    pub(crate) admin_url: Url,

    /// The root key's file; `data/root.key` if that is there and no `--tenant` is named
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tenant", "identities"])]
    pub(crate) admin_key_file: Option<PathBuf>,

    /// Instead of an admin key: a tenant that exists, whose own limits apply
    #[arg(long, value_name = "SLUG", requires = "identities")]
    pub(crate) tenant: Option<String>,

    /// Its test identities: the JSON list of its settings, a `password` beside each `email`
    #[arg(long, value_name = "FILE", requires = "tenant")]
    pub(crate) identities: Option<PathBuf>,

    /// What arrives
    #[arg(long, value_enum, default_value_t = Scenario::Mixed)]
    pub(crate) scenario: Scenario,

    /// Arrivals a second
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) rate: u32,

    /// For how long they arrive
    #[arg(long = "for", default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) window: Duration,

    /// Most arrivals under way at once; beyond it they wait, and the wait is counted
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: u32,

    /// Longest wait for one answer
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,

    /// Most tenants made for a run; each lists 20 people
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) tenants: u16,

    /// Write the report as one HTML file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// No dashboard, only the summary; so it is anyway where the output is no terminal
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// Drive a host that is not this machine, or beyond 2000 a second or 10 minutes
    #[arg(long)]
    pub(crate) i_own_this_host: bool,

    /// Only delete the tenants that earlier runs had to leave behind
    #[arg(long, conflicts_with_all = ["tenant", "identities", "report", "json"])]
    pub(crate) clean_up: bool,
}

/// Who is driven, and by what right people are made.
#[derive(Debug)]
pub(crate) enum Access {
    /// Tenants of the run's own, made with this key.
    Admin {
        /// The root key.
        key: String,
    },
    /// One that exists.
    Tenant {
        /// Its name in paths.
        slug: String,
        /// Who is on its list.
        identities: PathBuf,
    },
}

impl Options {
    /// Refuses what should not be driven so.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let owned = self.i_own_this_host;
        for (option, url) in [("--url", &self.url), ("--admin-url", &self.admin_url)] {
            let known = matches!(url.scheme(), "http") || (url.scheme() == "https" && cfg!(feature = "tls"));
            ensure!(
                known,
                "{option} {url}: only http is built in; for https build with `--features tls`, or name the listener itself"
            );
            let is_here = is_loopback(url);
            ensure!(
                is_here || owned,
                "{option} {url} is not this machine: a load test of a host that is not yours is an attack. \
                 If it is yours, say so with --i-own-this-host"
            );
        }
        let most = if owned { MOST_RATE.1 } else { MOST_RATE.0 };
        ensure!((1..=most).contains(&self.rate), "--rate must be from 1 to {most}{}", unless(owned));
        let longest = if owned { LONGEST.1 } else { LONGEST.0 };
        let spoken = humantime::format_duration(longest);
        ensure!(
            (Duration::from_secs(1)..=longest).contains(&self.window),
            "--for must be from 1s to {spoken}{}",
            unless(owned)
        );
        ensure!(
            (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&self.timeout),
            "--timeout must be from 100ms to 60s"
        );
        for file in [&self.report, &self.json].into_iter().flatten() {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            ensure!(
                folder.is_none_or(std::path::Path::is_dir) && !file.is_dir(),
                "{} cannot be written: there is no such folder, or it is one itself",
                file.display()
            );
        }
        ensure!(
            self.scenario != Scenario::Limits || self.tenant.is_none(),
            "`limits` needs --admin-key-file: it sets the limit that it goes above"
        );
        let least = crate::limits::LEAST_RATE;
        ensure!(
            self.scenario != Scenario::Limits || self.rate >= least,
            "`limits` needs a --rate of {least} or more: below, it would not go above the limit it sets"
        );
        Ok(())
    }

    /// The key or the tenant to work with.
    pub(crate) fn access(&self) -> anyhow::Result<Access> {
        if let (Some(slug), Some(identities)) = (&self.tenant, &self.identities) {
            return Ok(Access::Tenant { slug: slug.clone(), identities: identities.clone() });
        }
        let file = match &self.admin_key_file {
            Some(file) => file.clone(),
            None if PathBuf::from(ROOT_KEY).exists() => ROOT_KEY.into(),
            None => bail!(
                "whose people? There is no {ROOT_KEY} here. Give --admin-key-file FILE (the run makes tenants of its \
                 own and deletes them), or --tenant SLUG with --identities FILE"
            ),
        };
        let key = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let key = key.trim().to_owned();
        ensure!(!key.is_empty() && key.is_ascii(), "{} holds no key", file.display());
        Ok(Access::Admin { key })
    }
}

fn unless(owned: bool) -> &'static str {
    if owned { "" } else { " (more with --i-own-this-host)" }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn refusal(line: &str) -> String {
        let words = ["guichet-load"].into_iter().chain(line.split_whitespace());
        match Options::try_parse_from(words) {
            Ok(options) => options.check().err().map(|error| error.to_string()).unwrap_or_default(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_defaults_are_legal() {
        assert_eq!(refusal(""), "");
        for url in ["http://localhost:3000", "http://127.0.0.9", "http://[::1]:3000"] {
            assert_eq!(refusal(&format!("--url {url}")), "", "{url}");
        }
    }

    #[test]
    fn the_readme_names_every_option_and_scenario() {
        let readme = include_str!("../README.md");
        let command = Options::command();
        let options = command.get_arguments().filter_map(clap::Arg::get_long).filter(|name| *name != "version");
        for option in options.filter(|name| *name != "help") {
            assert!(readme.contains(&format!("`--{option}`")), "--{option}");
        }
        for scenario in Scenario::value_variants() {
            assert!(readme.contains(&format!("| `{}` |", scenario.name())), "{scenario:?}");
        }
    }

    #[test]
    fn another_host_is_driven_only_by_its_owner() {
        for url in
            ["http://auth.example.com", "http://10.0.0.1:3000", "http://localhost.example.com", "http://[2001:db8::1]"]
        {
            assert!(refusal(&format!("--url {url}")).contains("--i-own-this-host"), "{url}");
            assert!(refusal(&format!("--admin-url {url}")).contains("--i-own-this-host"), "{url}");
            assert_eq!(refusal(&format!("--url {url} --i-own-this-host")), "", "{url}");
        }
    }

    #[test]
    fn rates_and_times_are_bounded() {
        for (line, about) in [
            ("--rate 0", "from 1 to 2000"),
            ("--rate 2001", "from 1 to 2000"),
            ("--rate 50001 --i-own-this-host", "from 1 to 50000"),
            ("--for 500ms", "from 1s"),
            ("--for 11m", "--i-own-this-host"),
            ("--timeout 2m", "--timeout"),
            ("--in-flight 0", "--in-flight"),
            ("--report /no/such/folder/report.html", "cannot be written"),
            ("--json .", "cannot be written"),
            ("--scenario limits --rate 5", "limits"),
            ("--scenario limits --tenant acme --identities list.json", "--admin-key-file"),
            ("--tenant acme", "--identities"),
            ("--tenant acme --identities list.json --admin-key-file root.key", "cannot be used with"),
        ] {
            assert!(refusal(line).contains(about), "{line}: {}", refusal(line));
        }
        assert_eq!(refusal("--rate 2001 --for 11m --i-own-this-host"), "");
    }
}
