//! How administrators find people: pages, newest first, by the key of the table.
//!
//! A page costs a bounded number of rows whatever is looked for: where a filter has no index, only
//! the next [`SCAN`] accounts are looked through, and the answer says where to go on.

use sqlx::types::Uuid;

use super::accounts::AccountRow;
use super::engine::Database;
use super::error::StorageError;
use crate::domain::account::Account;
use crate::domain::ids::{AccountId, AttemptId, SessionId, TenantId};
use crate::domain::lockout::Lane;
use crate::domain::message::Content;
use crate::domain::time::Timestamp;

/// Accounts that one page looks through at most: some milliseconds of an index.
const SCAN: i64 = 10_000;

/// `$3` is where the scan ends. `$5` and `$6` are the same pattern in lower case and as typed: SQLite
/// knows case in ASCII only. `$7` names a status, `$8` the one account wanted.
const PAGE: &str = "
    SELECT a.tenant_id, a.id, a.username, a.first_name, a.last_name, a.phone_as_given, a.locale, a.disabled,
           a.created_at, a.unverified_until, e.value AS email, e.proven_at AS email_verified_at,
           p.value AS phone, CAST(NULL AS TEXT) AS password_hash, c.version AS password_version, a.test,
           (SELECT max(l.locked_until) FROM locks l
             WHERE l.tenant_id = a.tenant_id AND l.account_id = a.id
               AND l.ended_at IS NULL AND l.locked_until > $4) AS locked_until
      FROM accounts a
      LEFT JOIN contacts e ON e.tenant_id = a.tenant_id AND e.account_id = a.id AND e.kind = 'email'
      LEFT JOIN contacts p ON p.tenant_id = a.tenant_id AND p.account_id = a.id AND p.kind = 'phone'
      LEFT JOIN credentials c ON c.tenant_id = a.tenant_id AND c.account_id = a.id
     WHERE a.tenant_id = $1 AND a.id < $2 AND a.id >= $3
       AND (a.unverified_until IS NULL OR a.unverified_until > $4)
       AND ($5 IS NULL
            OR lower(a.username) LIKE $5 ESCAPE '!' OR a.username LIKE $6 ESCAPE '!'
            OR lower(a.first_name) LIKE $5 ESCAPE '!' OR a.first_name LIKE $6 ESCAPE '!'
            OR lower(a.last_name) LIKE $5 ESCAPE '!' OR a.last_name LIKE $6 ESCAPE '!'
            OR e.value LIKE $5 ESCAPE '!')
       AND ($7 IS NULL
            OR $7 = 'disabled' AND a.disabled
            OR $7 = 'unverified' AND e.proven_at IS NULL AND p.value IS NULL
            OR $7 = 'active' AND NOT a.disabled AND (e.proven_at IS NOT NULL OR p.value IS NOT NULL)
            OR $7 = 'locked' AND EXISTS (SELECT 1 FROM locks l
                                          WHERE l.tenant_id = a.tenant_id AND l.account_id = a.id
                                            AND l.ended_at IS NULL AND l.locked_until > $4))
       AND ($8 IS NULL OR a.id = $8)
     ORDER BY a.id DESC LIMIT $9";

const SCAN_ENDS: &str = "
    SELECT id FROM accounts WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT 1 OFFSET $3";

const LOCKS: &str = "
    SELECT id, account_id, lane, locked_until FROM locks
     WHERE tenant_id = $1 AND ended_at IS NULL AND locked_until > $2 AND (locked_until, id) < ($3, $4)
     ORDER BY locked_until DESC, id DESC LIMIT $5";

const SESSIONS: &str = "
    SELECT id, client_id, proof, label, authenticated_at, refreshed_at, expires_at, ended_at, end_cause
      FROM sessions WHERE tenant_id = $1 AND account_id = $2 ORDER BY authenticated_at DESC, id LIMIT $3";

const LINKS: &str = "
    SELECT purpose, expires_at, used_at FROM links
     WHERE tenant_id = $1 AND account_id = $2 ORDER BY expires_at DESC, id LIMIT $3";

const ALL_LOCKS: &str = "
    SELECT lane, locked_until, ended_at, end_cause FROM locks
     WHERE tenant_id = $1 AND account_id = $2 ORDER BY locked_until DESC, id LIMIT $3";

/// To every contact the account has. The text is not kept; its facts are ids.
const MESSAGES: &str = "
    SELECT o.kind, o.recipient, CAST(o.content AS TEXT) AS content, o.state, o.created_at, o.settled_at
      FROM outbox o
      JOIN contacts c ON c.tenant_id = o.tenant_id AND c.kind = o.kind AND c.value = o.recipient
     WHERE o.tenant_id = $1 AND c.account_id = $2 ORDER BY o.created_at DESC, o.id LIMIT $3";

/// Rows of each kind in one person's export at most; nobody has as many.
const MOST_KEPT: i64 = 10_000;

row! {
    /// A sign-in as it is kept, without what would open it.
    #[derive(Debug, Clone)]
    pub struct KeptSession {
        id: Uuid,
        /// For which app.
        pub client_id: String,
        /// How it was proven.
        pub proof: String,
        /// The shortened `User-Agent`.
        pub label: Option<String>,
        authenticated_at: i64,
        refreshed_at: i64,
        expires_at: i64,
        ended_at: Option<i64>,
        /// Why it ended.
        pub end_cause: Option<String>,
    }
}

impl KeptSession {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id.into()
    }

    /// Opened, last refreshed, ends at the latest; ended.
    #[must_use]
    pub fn times(&self) -> ([Timestamp; 3], Option<Timestamp>) {
        let times = [self.authenticated_at, self.refreshed_at, self.expires_at];
        (times.map(Timestamp::from_millis), self.ended_at.map(Timestamp::from_millis))
    }
}

row! {
    /// A mailed link as it is kept, without what would open it.
    #[derive(Debug, Clone)]
    pub struct KeptLink {
        /// What it is good for.
        pub purpose: String,
        expires_at: i64,
        used_at: Option<i64>,
    }
}

impl KeptLink {
    /// When it ends; when it was used.
    #[must_use]
    pub fn times(&self) -> (Timestamp, Option<Timestamp>) {
        (Timestamp::from_millis(self.expires_at), self.used_at.map(Timestamp::from_millis))
    }
}

row! {
    /// A lock as it is kept.
    #[derive(Debug, Clone)]
    pub struct KeptLock {
        lane: String,
        locked_until: i64,
        ended_at: Option<i64>,
        /// Why it ended.
        pub end_cause: Option<String>,
    }
}

impl KeptLock {
    /// Who was locked out.
    #[must_use]
    pub fn lane(&self) -> Option<Lane> {
        Lane::from_label(&self.lane)
    }

    /// Until when; when it ended.
    #[must_use]
    pub fn times(&self) -> (Timestamp, Option<Timestamp>) {
        (Timestamp::from_millis(self.locked_until), self.ended_at.map(Timestamp::from_millis))
    }
}

/// A message as it is kept: which, to whom and what became of it.
#[derive(Debug, Clone)]
pub struct KeptMessage {
    /// `email` or `phone`.
    pub kind: String,
    /// The contact.
    pub recipient: String,
    /// The template; none if the row cannot be read.
    pub template: Option<&'static str>,
    /// Whether it was sent.
    pub state: String,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was sent or given up.
    pub settled_at: Option<Timestamp>,
}

/// What is kept of a person beside the account, its devices, counters and events.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Sign-ins, newest first.
    pub sessions: Vec<KeptSession>,
    /// Mailed links, latest first.
    pub links: Vec<KeptLink>,
    /// Locks, latest first.
    pub locks: Vec<KeptLock>,
    /// Messages, newest first.
    pub messages: Vec<KeptMessage>,
}

/// How an account stands, as administrators ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// A contact is proven, and it may sign in.
    Active,
    /// No contact is proven yet.
    Unverified,
    /// It may not sign in.
    Disabled,
    /// Strangers or one of its devices are locked out now.
    Locked,
}

impl Status {
    /// The word of the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Unverified => "unverified",
            Self::Disabled => "disabled",
            Self::Locked => "locked",
        }
    }

    /// The status of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Active, Self::Unverified, Self::Disabled, Self::Locked]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// What a page of people is asked for by.
#[derive(Clone, Default)]
pub struct PeopleFilter {
    /// A part of a name or of the address, in any case.
    pub part: Option<String>,
    /// How they stand.
    pub status: Option<Status>,
    /// The one account wanted, if any.
    pub only: Option<AccountId>,
    /// Older than this one.
    pub before: Option<AccountId>,
    /// People at most.
    pub limit: u32,
}

/// One person, as administrators see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub account: Account,
    /// Made through a test identity.
    pub test: bool,
    /// Whether a password is set; an invited person has none yet.
    pub has_password: bool,
    /// When the last of the locks in force ends.
    pub locked_until: Option<Timestamp>,
}

/// One page of people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeoplePage {
    /// Newest first; may be empty though there is more to look through.
    pub people: Vec<Person>,
    /// Where the next page begins; none at the end.
    pub next: Option<AccountId>,
}

/// A lock in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockInForce {
    /// Its id.
    pub id: AttemptId,
    /// Whose.
    pub account: AccountId,
    /// Who is locked out.
    pub lane: Lane,
    /// Until when.
    pub until: Timestamp,
}

/// How administrators find people.
#[derive(Debug, Clone, Copy)]
pub struct People<'a> {
    pub(super) db: &'a Database,
}

impl People<'_> {
    /// A page of a tenant's people. Registrations that lapsed are none.
    pub async fn page(
        &self,
        tenant: TenantId,
        filter: &PeopleFilter,
        now: Timestamp,
    ) -> Result<PeoplePage, StorageError> {
        let before = filter.before.map_or(Uuid::max(), AccountId::uuid);
        let whole = filter.part.is_none() && filter.status.is_none() || filter.only.is_some();
        let floor = if whole { None } else { self.scan_ends(tenant, before).await? };
        let (lower, typed) = (filter.part.as_deref().map(pattern_lower), filter.part.as_deref().map(pattern));
        let mut rows = fetch_all!(
            self.db.read(),
            PersonRow,
            PAGE,
            tenant.uuid(),
            before,
            floor.unwrap_or(Uuid::nil()),
            now.as_millis(),
            lower.as_deref(),
            typed.as_deref(),
            filter.status.map(Status::as_str),
            filter.only.map(AccountId::uuid),
            i64::from(filter.limit) + 1,
        )?;
        let full = rows.len() > filter.limit as usize;
        rows.truncate(filter.limit as usize);
        let next = if full { rows.last().map(|row| row.account.id.into()) } else { floor.map(AccountId::from) };
        let people = rows.into_iter().map(PersonRow::into_person).collect::<Result<_, _>>()?;
        Ok(PeoplePage { people, next })
    }

    /// One person; a registration that lapsed is none.
    pub async fn find(&self, tenant: TenantId, id: AccountId, now: Timestamp) -> Result<Option<Person>, StorageError> {
        let filter = PeopleFilter { only: Some(id), limit: 1, ..PeopleFilter::default() };
        Ok(self.page(tenant, &filter, now).await?.people.pop())
    }

    /// A tenant's locks in force, the longest first, from just below `before`.
    pub async fn locks(
        &self,
        tenant: TenantId,
        before: Option<(Timestamp, AttemptId)>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<LockInForce>, StorageError> {
        let (until, id) = before.map_or((i64::MAX, Uuid::max()), |(until, id)| (until.as_millis(), id.uuid()));
        let (at, limit) = (now.as_millis(), i64::from(limit));
        let rows = fetch_all!(self.db.read(), LockRow, LOCKS, tenant.uuid(), at, until, id, limit)?;
        rows.into_iter().map(LockRow::into_lock).collect()
    }

    /// What is kept of one person.
    pub async fn kept(&self, tenant: TenantId, account: AccountId) -> Result<Kept, StorageError> {
        let (tenant, account) = (tenant.uuid(), account.uuid());
        let messages = fetch_all!(self.db.read(), MessageRow, MESSAGES, tenant, account, MOST_KEPT)?;
        Ok(Kept {
            sessions: fetch_all!(self.db.read(), KeptSession, SESSIONS, tenant, account, MOST_KEPT)?,
            links: fetch_all!(self.db.read(), KeptLink, LINKS, tenant, account, MOST_KEPT)?,
            locks: fetch_all!(self.db.read(), KeptLock, ALL_LOCKS, tenant, account, MOST_KEPT)?,
            messages: messages.into_iter().map(MessageRow::into_kept).collect(),
        })
    }

    /// The last account that a scan from `before` looks at; `None` if it reaches the end.
    async fn scan_ends(&self, tenant: TenantId, before: Uuid) -> Result<Option<Uuid>, StorageError> {
        let row = fetch_optional!(self.db.read(), (Uuid,), SCAN_ENDS, tenant.uuid(), before, SCAN - 1)?;
        Ok(row.map(|(id,)| id))
    }
}

/// A part of a text as a `LIKE` pattern with `!` as its escape.
fn pattern(part: &str) -> String {
    let mut pattern = String::from("%");
    for c in part.chars() {
        if "%_!".contains(c) {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

fn pattern_lower(part: &str) -> String {
    pattern(&part.to_lowercase())
}

row! {
    struct PersonRow {
        ..account: AccountRow,
        test: bool,
        locked_until: Option<i64>,
    }
}

impl PersonRow {
    fn into_person(self) -> Result<Person, StorageError> {
        let has_password = self.account.password_version.is_some();
        let (account, _) = self.account.into_account()?;
        let locked_until = self.locked_until.map(Timestamp::from_millis);
        Ok(Person { account, test: self.test, has_password, locked_until })
    }
}

row! {
    struct MessageRow {
        kind: String,
        recipient: String,
        content: String,
        state: String,
        created_at: i64,
        settled_at: Option<i64>,
    }
}

impl MessageRow {
    fn into_kept(self) -> KeptMessage {
        let content: Option<Content> = serde_json::from_str(&self.content).ok();
        KeptMessage {
            kind: self.kind,
            recipient: self.recipient,
            template: content.map(|content| content.template()),
            state: self.state,
            created_at: Timestamp::from_millis(self.created_at),
            settled_at: self.settled_at.map(Timestamp::from_millis),
        }
    }
}

row! {
    struct LockRow {
        id: Uuid,
        account_id: Uuid,
        lane: String,
        locked_until: i64,
    }
}

impl LockRow {
    fn into_lock(self) -> Result<LockInForce, StorageError> {
        Ok(LockInForce {
            id: self.id.into(),
            account: self.account_id.into(),
            lane: Lane::from_label(&self.lane).ok_or_else(|| StorageError::corrupt("locks.lane"))?,
            until: Timestamp::from_millis(self.locked_until),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_searched_for_is_no_pattern_of_its_own() {
        assert_eq!(pattern("50%_off!"), "%50!%!_off!!%");
        assert_eq!(pattern_lower("AWA"), "%awa%");
    }
}
