//! A load test of a running guichet: people who do not exist, at a rate that waits for no answer.
//!
//! ```text
//!   options ─► plan ─► tenants (made over the admin API) ─► people (signed up, nothing sent)
//!                                                             │
//!   schedule ─► suite (rlt's workers and dashboard) ─► journeys ─► recorder
//!                                                                     │
//!   tenants deleted, whatever happened ◄── report (table, JSON, HTML) ◄┘
//! ```
//!
//! `README.md` beside this package says what each scenario measures and what it does not.

mod client;
mod journeys;
mod limited;
mod limits;
mod options;
mod people;
mod plan;
mod recorder;
mod report;
mod schedule;
mod suite;
mod tenants;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use clap::Parser as _;
use reqwest::{Method, Url};
use rlt::cli::BenchCli;
use tokio::time::Instant;

use client::Door;
use journeys::World;
use limited::Limited;
use options::{Access, Options, Scenario};
use people::People;
use plan::Plan;
use recorder::Recorder;
use report::{Asked, Summary};
use schedule::Schedule;
use suite::Suite;
use tenants::Tenants;

/// Ending a tenant removes all that is in it.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What the program answers with.
mod exit {
    /// Something was not as it should be; the report says what.
    pub(super) const FAULTS: u8 = 1;
    /// There was no run.
    pub(super) const NO_RUN: u8 = 2;
    /// Ctrl-C or SIGTERM.
    pub(super) const INTERRUPTED: u8 = 130;
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match drive(&options).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("guichet-load: {error:#}");
            ExitCode::from(exit::NO_RUN)
        }
    }
}

async fn drive(options: &Options) -> anyhow::Result<ExitCode> {
    options.check()?;
    let access = options.access()?;
    let tenants = match &access {
        Access::Admin { key } => Some(Tenants::new(Door::new(&options.admin_url, ADMIN_TIMEOUT)?, key.clone())),
        Access::Tenant { .. } => None,
    };
    if options.clean_up {
        let tenants = tenants.context("--clean-up needs --admin-key-file")?;
        eprintln!("deleted tenants of earlier runs: {}", tenants.clean_up().await?);
        return Ok(ExitCode::SUCCESS);
    }

    let ended = run(options, &access, tenants.as_ref()).await;
    if let Some(tenants) = &tenants {
        leave(tenants).await;
    }
    let Some(summary) = ended? else { return Ok(ExitCode::from(exit::INTERRUPTED)) };

    print!("\n{}", summary.table());
    if let Some(file) = &options.json {
        write(file, &serde_json::to_string_pretty(&summary)?)?;
    }
    if let Some(file) = &options.report {
        write(file, &summary.html()?)?;
        println!("report: {}", file.display());
    }
    Ok(match (&summary.interrupted, summary.is_good()) {
        (true, _) => ExitCode::from(exit::INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(exit::FAULTS),
    })
}

/// Prepares and runs; nothing if it was stopped before it began.
async fn run(options: &Options, access: &Access, tenants: Option<&Tenants>) -> anyhow::Result<Option<Summary>> {
    let schedule = Schedule::new(options.scenario, options.rate, options.window);
    let world = tokio::select! {
        biased;
        () = stopped() => return Ok(None),
        world = world(options, &schedule, access, tenants) => Arc::new(world?),
    };
    let asked = Asked {
        scenario: options.scenario.name(),
        url: options.url.to_string(),
        rate: options.rate,
        seconds: options.window.as_secs_f64(),
        arrivals: schedule.len(),
        in_flight: options.in_flight,
        started_at: now(),
    };
    let started = Instant::now();
    tokio::select! {
        ran = rlt::cli::run(settings_of_rlt(options, &schedule)?, Suite::new(world.clone(), schedule)) => ran?,
        () = terminated() => {}
    }
    let took = started.elapsed();
    let mut summary = Summary::new(asked, took, world.recorder.told(), None);
    if let Some(limited) = world.limited.as_ref().filter(|_| !summary.interrupted && summary.sent > 0) {
        eprintln!("waiting as long as refusals say");
        summary.limits = Some(limited.held(&world.door).await);
    }
    Ok(Some(summary))
}

/// Makes whom and what the arrivals meet.
async fn world(
    options: &Options,
    schedule: &Schedule,
    access: &Access,
    tenants: Option<&Tenants>,
) -> anyhow::Result<World> {
    let door = Door::new(&options.url, options.timeout)?;
    greet(&door, &options.url).await?;
    if let Some(tenants) = tenants {
        tenants.check().await?;
    }
    let plan = Plan::of(schedule);
    let began = Instant::now();
    // Before the people: they wait until every node knows the tenants.
    let limited = match tenants {
        Some(tenants) if options.scenario == Scenario::Limits => Some(Limited::new(&tenants.limited().await?)),
        _ => None,
    };
    let people = match (access, tenants) {
        (Access::Tenant { slug, identities }, _) => People::of_file(&door, slug, identities, plan).await?,
        (Access::Admin { .. }, Some(tenants)) => {
            let most = usize::from(options.tenants);
            if plan.people() > 0 {
                eprintln!("making people: {}, tenants for them: {}", plan.people(), plan.tenants(most)?);
            }
            People::in_own_tenants(&door, tenants, plan, most).await?
        }
        (Access::Admin { .. }, None) => bail!("no admin API to make tenants with"),
    };
    eprintln!("ready after {:.1} s", began.elapsed().as_secs_f64());
    Ok(World { door, people, recorder: Recorder::default(), limited })
}

/// Asks what only guichet's public listener answers.
async fn greet(door: &Door, url: &Url) -> anyhow::Result<()> {
    let answer = match client::ask(door.call(Method::GET, "/.well-known/jwks.json")).await {
        Ok(answer) => answer,
        Err(why) => bail!("nothing answers at {url}: {why}. Is `guichet serve` running there?"),
    };
    // Without a default tenant there are no keys at this path, and it says so.
    let is_guichet = answer.json.get("keys").is_some() || answer.text("code") == "tenant_not_found";
    ensure!(is_guichet, "{url} is not guichet's public listener: /.well-known/jwks.json answered {}", answer.shown());
    Ok(())
}

/// One iteration for each arrival and one worker for each place; the schedule, not `rlt`, sets the pace.
/// Its own summary knows nothing of requests, and is coloured where nobody sees it: ours is shown.
fn settings_of_rlt(options: &Options, schedule: &Schedule) -> anyhow::Result<BenchCli> {
    let (workers, arrivals) = (options.in_flight.to_string(), schedule.len().to_string());
    let words = ["guichet-load", "--concurrency", &workers, "--iterations", &arrivals, "--output-file", "/dev/null"];
    let quiet = options.quiet.then_some("--quiet");
    Ok(BenchCli::try_parse_from(words.into_iter().chain(quiet))?)
}

/// Deletes the run's tenants, or says how to.
async fn leave(tenants: &Tenants) {
    match tenants.close().await {
        Ok(0) => {}
        Ok(count) => eprintln!("deleted the run's tenants: {count}"),
        Err((left, error)) => eprintln!(
            "guichet-load: {} of the run's tenants could not be deleted ({error:#}). They send nothing. When the admin \
             API answers again, the same command with --clean-up deletes them: {}",
            left.len(),
            left.join(" ")
        ),
    }
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Until Ctrl-C or SIGTERM.
async fn stopped() {
    tokio::select! {
        // An error means that nobody can press it.
        Ok(()) = tokio::signal::ctrl_c() => {}
        () = terminated() => {}
    }
}

/// Until SIGTERM; during the run `rlt` itself listens to Ctrl-C.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(_) => std::future::pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the report says when it was; nothing is decided by it")]
fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
