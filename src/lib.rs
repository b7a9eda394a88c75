//! # guichet: an actor-based, multi-tenant authentication gateway
//!
//! People sign in with a code sent to their phone, or with e-mail and password; tenants bring
//! their own rules; API gateways stand in front of several apps and trust guichet's tokens. This
//! page is the architecture. Each module opens with its own.
//!
//! ## The house
//!
//! ```text
//!  client ─► http/ ─► tenant/ ─► actors/ ──► domain/   (pure: facts + policy + now → verdict)
//!            hyper     whose      read facts, judge, write what changed, answer
//!            front end request?      ├──► crypto/     argon2id, JWT, keyed digests
//!                                    ├──► storage/    PostgreSQL | SQLite: what must survive
//!                                    ├──► ephemeral/  Redis | in-process: what may expire
//!                                    └──► delivery/   SMTP, SMS, console: what people receive
//! ```
//!
//! | floor | modules | may read |
//! | --- | --- | --- |
//! | entry | `main`, [`cli`] | everything |
//! | composition | [`app`]: builds every part, starts and stops in order | everything below |
//! | front end | [`http`] | actors' doors, limits, tenant, domain, config, clock, secret |
//! | shell | [`actors`], [`limits`] | everything below; `limits` only tenant and ephemeral |
//! | who is it | [`tenant`] | domain, and storage's rows |
//! | rooms | [`storage`], [`ephemeral`], [`delivery`], [`crypto`], [`config`] | domain and the tools; never each other |
//! | tools | [`clock`], [`entropy`], [`secret`], [`telemetry`] | domain |
//! | rules | [`domain`] | nothing of ours, and nothing that waits, asks the time or draws lots |
//!
//! No arrow runs back up. `tests/it/architecture.rs` walks the sources and holds this table.
//!
//! ## One log-in, through every part
//!
//! 1. [`http::server`] accepts, [`http::middleware`] names, measures and admits the request;
//!    [`http::gate`] finds its tenant: path, own domain, trusted header, default. [`limits`] are
//!    asked before anybody else hears of it.
//! 2. [`http::handlers::login`] decodes the body into canonical types (an address has one
//!    spelling from here on) and knocks on [`actors::accounts::Accounts::log_in`].
//! 3. The door looks up whose address it is and asks that account's actor through the
//!    [`actors::directory`]; an unknown address goes to one of 1,024 shadow actors and takes the
//!    same path in the same time. A full mailbox refuses at once.
//! 4. The story reserves the attempt in [`ephemeral`], *before* anything is hashed: at most
//!    `threshold` wrong guesses are ever compared, on any number of nodes. What attempts of a node that
//!    died led to is written to [`storage`] before another is admitted.
//! 5. [`actors::hasher`] compares, off the async threads, tenants taking turns.
//! 6. The story settles the attempt. A lock is in [`storage`], with its mail in the outbox, before
//!    the answer that made it leaves; an ordinary failure is mirrored just after.
//! 7. [`domain::sign_in`] judges. A new device gets a code by mail; a known one gets a session:
//!    one row, one refresh token (kept as a digest), one access token ([`crypto::jwt`]).
//!
//! ## One code, through every part
//!
//! 1. The send is booked in [`ephemeral`] (cooldown, per hour, per day). The challenge holds an id
//!    and no code: the code is a MAC over that id ([`crypto::digest`]), so a dump opens nothing
//!    and a resend carries the same code. One that was sent after a right password ends with that password.
//! 2. A row goes to the outbox, leased to this node. If it cannot be written the booking is given
//!    back and the person is told to come again.
//! 3. [`actors::senders`] renders ([`delivery::template`]) and asks the tenant's senders in their order,
//!    the next one only after a definite refusal. The row is marked before a sender is asked and settled
//!    after, both under its claim number, with every attempt in the delivery log. If this node dies,
//!    another takes the row when the lease ends; an SMS that may have left is never sent again.
//! 4. An answer is counted first, compared second, and consumed by one caller of N.
//!
//! ## One token check, through every part
//!
//! 1. A gateway asks [`http::handlers::forward_auth`]; its tenant is the path's or the default, never a header's.
//! 2. A token seen before is answered in [`http::middleware`] before anything is made for the request:
//!    [`actors::tokens`] finds its claims by digest and judges life, session, audience and scope every time.
//! 3. Else its signature is checked with keys in memory ([`actors::keyring`]). No store is asked either way,
//!    unless the tenant limits its apps' checks ([`limits`]).
//!
//! ## What judges what
//!
//! | fact | judge | if it is away |
//! | --- | --- | --- |
//! | attempts, locks | [`ephemeral`]; mirrored to storage, from which an emptied Redis is re-seeded | log-in 503 |
//! | requests by client, app, tenant | [`ephemeral`], behind each node's own copy ([`limits`]) | each node by itself, at the full quota |
//! | codes, send limits, grants | [`ephemeral`] | codes 503 |
//! | accounts, devices, sessions, refresh rotation, links | [`storage`], by conditional writes | those routes 503 |
//! | messages | the outbox row, in the fact's own transaction | the fact is not written either |
//! | token signatures, JWKS | memory, once loaded | go on |
//! | whether a session has ended, for token checks | memory ([`actors::tokens`]), told at once and read from [`storage`] twice a second | go on for `tokens.max_stale`, then 503 |
//!
//! An actor orders work on one node and is never the safety net: two nodes may hold the same
//! account at once, and a node may die anywhere, and every promise still holds.
//!
//! ## Where to add things
//!
//! `.github/CONTRIBUTING.md` has the recipes: an endpoint, a table, a setting, an SMS provider.

pub mod actors;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod delivery;
pub mod domain;
pub mod entropy;
pub mod ephemeral;
pub mod http;
pub mod limits;
pub mod secret;
pub mod storage;
pub mod telemetry;
pub mod tenant;
