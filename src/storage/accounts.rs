//! People: their accounts, contacts and credentials, from registration to erasure.
//!
//! A contact is unique within its tenant by the key of its table; whoever inserts it first owns it,
//! on however many nodes. An unproven registration whose link has run out gives its address up to
//! the next comer inside the newcomer's own transaction.

use sqlx::types::Uuid;

use super::deliveries;
use super::devices::{self, NewDevice};
use super::engine::{Database, Text, Tx};
use super::error::StorageError;
use super::links::{self, NewLink};
use super::notes::{self, Notes};
use super::sessions::{self, Opened, Opening};
use crate::domain::account::Account;
use crate::domain::contact::{Contact, ContactKind};
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, ChallengeId, DeviceId, SessionId, TenantId};
use crate::domain::locale::Locale;
use crate::domain::session::EndCause;
use crate::domain::time::Timestamp;
use crate::secret::{ExposeSecret, SecretString};

const FIND: &str = "
    SELECT a.tenant_id, a.id, a.username, a.first_name, a.last_name, a.phone_as_given, a.locale, a.disabled,
           a.test, a.created_at, a.unverified_until, e.value AS email, e.proven_at AS email_verified_at,
           p.value AS phone, c.password_hash, c.version AS password_version
      FROM accounts a
      LEFT JOIN contacts e ON e.tenant_id = a.tenant_id AND e.account_id = a.id AND e.kind = 'email'
      LEFT JOIN contacts p ON p.tenant_id = a.tenant_id AND p.account_id = a.id AND p.kind = 'phone'
      LEFT JOIN credentials c ON c.tenant_id = a.tenant_id AND c.account_id = a.id
     WHERE a.tenant_id = $1 AND a.id = $2";

const FIND_ID: &str = "SELECT account_id FROM contacts WHERE tenant_id = $1 AND kind = $2 AND value = $3";

/// Not stronger than needed: rows that refer to the account may still be inserted meanwhile.
const LOCK: Text = Text {
    postgres: "SELECT id FROM accounts WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE",
    sqlite: "SELECT id FROM accounts WHERE tenant_id = $1 AND id = $2",
};

/// Proving a contact empties `unverified_until`, so a registration proven meanwhile is not deleted.
const DELETE_LAPSED: &str = "
    DELETE FROM accounts
     WHERE tenant_id = $1
       AND id = (SELECT account_id FROM contacts WHERE tenant_id = $1 AND kind = $2 AND value = $3)
       AND unverified_until <= $4";

const INSERT: &str = "
    INSERT INTO accounts (tenant_id, id, username, first_name, last_name, phone_as_given, locale, disabled,
                          created_at, unverified_until, test)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

const INSERT_CONTACT: &str = "
    INSERT INTO contacts (tenant_id, kind, value, account_id, proven_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (tenant_id, kind, value) DO NOTHING";

const SPEND_PROOF: &str = "
    INSERT INTO proofs (tenant_id, challenge_id, spent_at) VALUES ($1, $2, $3)
    ON CONFLICT (tenant_id, challenge_id) DO NOTHING";

const PUT_CREDENTIAL: &str = "
    INSERT INTO credentials (tenant_id, account_id, password_hash, version) VALUES ($1, $2, $3, 1)
    ON CONFLICT (tenant_id, account_id)
    DO UPDATE SET password_hash = excluded.password_hash, version = credentials.version + 1";

/// Read after the account was locked: what it says stays true until the end of the transaction.
const STANDING: &str = "
    SELECT a.disabled, c.version
      FROM accounts a LEFT JOIN credentials c ON c.tenant_id = a.tenant_id AND c.account_id = a.id
     WHERE a.tenant_id = $1 AND a.id = $2";

const PROVE_EMAIL: &str = "
    UPDATE contacts SET proven_at = $3
     WHERE tenant_id = $1 AND account_id = $2 AND kind = 'email' AND proven_at IS NULL";

const KEEP_FOR_GOOD: &str = "UPDATE accounts SET unverified_until = NULL WHERE tenant_id = $1 AND id = $2";

/// Conditional on the hash that was compared: a password changed meanwhile is not put back.
const REHASH: &str = "
    UPDATE credentials SET password_hash = $4
     WHERE tenant_id = $1 AND account_id = $2 AND password_hash = $3";

/// Every contact it has, and every contact that a change names with the account: the one before it, and
/// the one that was never confirmed, unless that is somebody else's. `$3` is the account's id as the
/// messages spell it.
const CONTACTS_EVER: &str = "
    SELECT kind, value FROM contacts WHERE tenant_id = $1 AND account_id = $2
    UNION
    SELECT o.kind, o.recipient FROM outbox o
     WHERE o.tenant_id = $1 AND CAST(o.content AS TEXT) LIKE $3
       AND NOT EXISTS (SELECT 1 FROM contacts c
                        WHERE c.tenant_id = o.tenant_id AND c.kind = o.kind AND c.value = o.recipient
                          AND c.account_id <> $2)";

const DELETE_MESSAGES_TO: &str = "DELETE FROM outbox WHERE tenant_id = $1 AND kind = $2 AND recipient = $3";

/// Those that went to somebody else for it.
const DELETE_MESSAGES_OF: &str = "DELETE FROM outbox WHERE tenant_id = $1 AND CAST(content AS TEXT) LIKE $2";

const SET_DISABLED: &str = "UPDATE accounts SET disabled = $3 WHERE tenant_id = $1 AND id = $2 AND disabled <> $3";

const CONTACT: &str = "SELECT value FROM contacts WHERE tenant_id = $1 AND account_id = $2 AND kind = $3";

const DELETE_CONTACT: &str = "DELETE FROM contacts WHERE tenant_id = $1 AND account_id = $2 AND kind = $3";

/// Queued for a contact that is not the account's any more: codes and links that are void.
const DELETE_QUEUED: &str = "
    DELETE FROM outbox WHERE tenant_id = $1 AND kind = $2 AND recipient = $3 AND state = 'queued'";

const AWAIT_UNTIL: &str = "
    UPDATE accounts SET unverified_until = $3
     WHERE tenant_id = $1 AND id = $2 AND unverified_until IS NOT NULL
       AND NOT EXISTS (SELECT 1 FROM credentials WHERE tenant_id = $1 AND account_id = $2)";

/// Everything else of the person hangs on this row and goes with it.
const DELETE: &str = "DELETE FROM accounts WHERE tenant_id = $1 AND id = $2";

/// A password as stored.
#[derive(Debug, Clone)]
pub struct Credential {
    /// PHC string.
    pub password_hash: SecretString,
    /// What it opens: grows when the password changes, and whenever the account's sessions are ended; not
    /// when it is hashed anew.
    pub version: i64,
}

/// A registration with e-mail and password.
#[derive(Debug, Clone, Copy)]
pub struct EmailRegistration<'a> {
    /// The person, with an address.
    pub account: &'a Account,
    /// PHC string.
    pub password_hash: &'a SecretString,
    /// The registering device, trusted from the start.
    pub devices: &'a [NewDevice],
    /// The verification link.
    pub link: &'a NewLink,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmailRegistered {
    /// The account exists now.
    Created,
    /// The address belongs to an account.
    EmailTaken,
}

/// A registration with a proven phone number, which signs in at once.
#[derive(Debug, Clone, Copy)]
pub struct PhoneRegistration<'a> {
    /// The person, with a number.
    pub account: &'a Account,
    /// The challenge that proved the number.
    pub proof: ChallengeId,
    /// The first session.
    pub opening: Opening<'a>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhoneRegistered {
    /// The account exists now, and its session is open.
    Created {
        /// The device it trusts, if one was offered.
        device: Option<DeviceId>,
    },
    /// The number belongs to an account.
    PhoneTaken,
    /// The proof has registered an account (or opened a session) before.
    ProofSpent,
}

/// What became of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invited {
    /// The link is written.
    Invited,
    /// The address belongs to an account that awaits no invitation.
    Taken,
}

/// A contact that takes the place of the one of its kind.
#[derive(Debug, Clone, Copy)]
pub struct ContactChange<'a> {
    /// In which tenant.
    pub tenant: TenantId,
    /// Whose.
    pub account: AccountId,
    /// The contact of that kind that the change was judged on, if there was one.
    pub old: Option<&'a Contact>,
    /// The proven contact.
    pub new: &'a Contact,
    /// The challenge that proved it; changes one contact, even if its consumption was lost.
    pub proof: ChallengeId,
    /// The acting session, the only one that stays.
    pub keep: SessionId,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactChanged {
    /// The contact is the new one.
    Changed,
    /// The contact belongs to another account.
    Taken,
    /// What it was judged on holds no longer: the account is disabled, the session over, the contact
    /// another one, or the proof spent.
    Stale,
}

/// People and how they are reached.
#[derive(Debug, Clone, Copy)]
pub struct Accounts<'a> {
    pub(super) db: &'a Database,
}

impl Accounts<'_> {
    /// One account.
    pub async fn find(&self, tenant: TenantId, id: AccountId) -> Result<Option<Account>, StorageError> {
        Ok(self.find_with_credential(tenant, id).await?.map(|(account, _)| account))
    }

    /// The account that a contact belongs to, proven or not.
    pub async fn find_id(&self, tenant: TenantId, contact: &Contact) -> Result<Option<AccountId>, StorageError> {
        let (kind, value) = (contact.kind().as_str(), contact.as_str());
        let row = fetch_optional!(self.db.read(), (Uuid,), FIND_ID, tenant.uuid(), kind, value)?;
        Ok(row.map(|(id,)| id.into()))
    }

    /// One account and its password, in one query.
    pub async fn find_with_credential(
        &self,
        tenant: TenantId,
        id: AccountId,
    ) -> Result<Option<(Account, Option<Credential>)>, StorageError> {
        let row = fetch_optional!(self.db.read(), AccountRow, FIND, tenant.uuid(), id.uuid())?;
        row.map(AccountRow::into_account).transpose()
    }

    /// Registers a person with e-mail and password.
    pub async fn create_with_email(
        &self,
        registration: &EmailRegistration<'_>,
        notes: &Notes<'_>,
    ) -> Result<EmailRegistered, StorageError> {
        let account = registration.account;
        let mut tx = self.db.begin().await?;
        if !insert(&mut tx, account, notes.now).await? {
            return Ok(EmailRegistered::EmailTaken);
        }
        put_credential(&mut tx, account.tenant, account.id, registration.password_hash).await?;
        for device in registration.devices {
            devices::trust(&mut tx, account.tenant, account.id, device).await?;
        }
        links::insert(&mut tx, registration.link).await?;
        notes::write(&mut tx, notes).await?;
        tx.commit().await?;
        Ok(EmailRegistered::Created)
    }

    /// Registers a person with a proven number and opens the first session.
    pub async fn create_with_phone(
        &self,
        registration: &PhoneRegistration<'_>,
        notes: &Notes<'_>,
    ) -> Result<PhoneRegistered, StorageError> {
        let account = registration.account;
        let mut tx = self.db.begin().await?;
        let (tenant, proof) = (account.tenant.uuid(), registration.proof.uuid());
        if execute!(tx.on(), SPEND_PROOF, tenant, proof, notes.now.as_millis())? == 0 {
            return Ok(PhoneRegistered::ProofSpent);
        }
        if !insert(&mut tx, account, notes.now).await? {
            return Ok(PhoneRegistered::PhoneTaken);
        }
        let Opened::Opened { device, .. } = sessions::insert(&mut tx, &registration.opening, notes.now).await? else {
            return Ok(PhoneRegistered::ProofSpent);
        };
        notes::write(&mut tx, notes).await?;
        tx.commit().await?;
        Ok(PhoneRegistered::Created { device })
    }

    /// Makes an account that has no password yet, with the link that sets its first.
    pub async fn invite(&self, account: &Account, link: &NewLink, notes: &Notes<'_>) -> Result<Invited, StorageError> {
        let mut tx = self.db.begin().await?;
        if !insert(&mut tx, account, notes.now).await? {
            return Ok(Invited::Taken);
        }
        links::insert(&mut tx, link).await?;
        notes::write(&mut tx, notes).await?;
        tx.commit().await?;
        Ok(Invited::Invited)
    }

    /// Another invitation for an account that has not followed the last one, which is void now.
    pub async fn invite_again(&self, link: &NewLink, notes: &Notes<'_>) -> Result<Invited, StorageError> {
        let (tenant, account) = (link.tenant, link.account);
        let mut tx = self.db.begin().await?;
        let until = link.expires_at.as_millis();
        if !lock(&mut tx, tenant, account).await?
            || execute!(tx.on(), AWAIT_UNTIL, tenant.uuid(), account.uuid(), until)? == 0
        {
            return Ok(Invited::Taken);
        }
        links::void_password_links(&mut tx, tenant, account).await?;
        links::insert(&mut tx, link).await?;
        notes::write(&mut tx, notes).await?;
        tx.commit().await?;
        Ok(Invited::Invited)
    }

    /// Puts a proven contact in the place of the one of its kind. Other sessions end, and every link
    /// and message still on its way to the old contact is void.
    pub async fn change_contact(
        &self,
        change: &ContactChange<'_>,
        notes: &Notes<'_>,
    ) -> Result<ContactChanged, StorageError> {
        let (tenant, account, now) = (change.tenant, change.account, notes.now);
        let (kind, new) = (change.new.kind().as_str(), change.new.as_str());
        let mut tx = self.db.begin().await?;
        if !lock(&mut tx, tenant, account).await?
            || !still_stands(&mut tx, tenant, account, None).await?
            || !sessions::is_open(&mut tx, tenant, account, change.keep, now).await?
            || execute!(tx.on(), SPEND_PROOF, tenant.uuid(), change.proof.uuid(), now.as_millis())? == 0
        {
            return Ok(ContactChanged::Stale);
        }
        let old = fetch_optional!(tx.on(), (String,), CONTACT, tenant.uuid(), account.uuid(), kind)?;
        if old.as_ref().map(|(value,)| value.as_str()) != change.old.map(Contact::as_str) {
            return Ok(ContactChanged::Stale);
        }
        execute!(tx.on(), DELETE_CONTACT, tenant.uuid(), account.uuid(), kind)?;
        execute!(tx.on(), DELETE_LAPSED, tenant.uuid(), kind, new, now.as_millis())?;
        let at = now.as_millis();
        if execute!(tx.on(), INSERT_CONTACT, tenant.uuid(), kind, new, account.uuid(), at)? == 0 {
            return Ok(ContactChanged::Taken);
        }
        execute!(tx.on(), KEEP_FOR_GOOD, tenant.uuid(), account.uuid())?;
        if let Some((old,)) = old {
            execute!(tx.on(), DELETE_QUEUED, tenant.uuid(), kind, old)?;
        }
        links::void_all(&mut tx, tenant, account).await?;
        sessions::end_others(&mut tx, tenant, account, Some(change.keep), EndCause::ContactChange, now).await?;
        notes::write(&mut tx, notes).await?;
        tx.commit().await?;
        Ok(ContactChanged::Changed)
    }

    /// Lets nobody in through the account any more and ends its sessions; its devices stay trusted for
    /// when it is enabled again. The sessions it ended; `None` if there is no such account. The notes
    /// are written only if it was enabled.
    pub async fn disable(
        &self,
        tenant: TenantId,
        id: AccountId,
        notes: &Notes<'_>,
    ) -> Result<Option<Vec<SessionId>>, StorageError> {
        let mut tx = self.db.begin().await?;
        if !lock(&mut tx, tenant, id).await? {
            return Ok(None);
        }
        if execute!(tx.on(), SET_DISABLED, tenant.uuid(), id.uuid(), true)? == 1 {
            notes::write(&mut tx, notes).await?;
        }
        let ended = sessions::end_others(&mut tx, tenant, id, None, EndCause::Disabled, notes.now).await?;
        tx.commit().await?;
        Ok(Some(ended))
    }

    /// Lets the account sign in again; `false` if there is no such account.
    pub async fn enable(&self, tenant: TenantId, id: AccountId, notes: &Notes<'_>) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        if !lock(&mut tx, tenant, id).await? {
            return Ok(false);
        }
        if execute!(tx.on(), SET_DISABLED, tenant.uuid(), id.uuid(), false)? == 1 {
            notes::write(&mut tx, notes).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Replaces `old`, the PHC string that was compared, by one of the same password with newer
    /// parameters; `false` if another is stored by now.
    pub async fn rehash(
        &self,
        tenant: TenantId,
        id: AccountId,
        old: &SecretString,
        new: &SecretString,
    ) -> Result<bool, StorageError> {
        let (old, new) = (old.expose_secret(), new.expose_secret());
        Ok(execute!(self.db.write(), REHASH, tenant.uuid(), id.uuid(), old, new)? == 1)
    }

    /// Deletes everything of the person but the audit log's ids; its open sessions are revoked. The
    /// delivery log forgets whatever was sent to a contact of theirs, which it knows by `digest` alone.
    /// `false` if there was no such account.
    pub async fn erase(
        &self,
        tenant: TenantId,
        id: AccountId,
        now: Timestamp,
        events: &[Event],
        digest: impl Fn(&Contact) -> [u8; 32],
    ) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        if !lock(&mut tx, tenant, id).await? {
            return Ok(false);
        }
        sessions::revoke_all(&mut tx, tenant, id, now).await?;
        let named = format!("%{id}%");
        let ever = fetch_all!(tx.on(), (String, String), CONTACTS_EVER, tenant.uuid(), id.uuid(), named.as_str())?;
        // All messages before any delivery: a receipt takes them in this order too.
        for (kind, value) in &ever {
            execute!(tx.on(), DELETE_MESSAGES_TO, tenant.uuid(), kind.as_str(), value.as_str())?;
        }
        execute!(tx.on(), DELETE_MESSAGES_OF, tenant.uuid(), named)?;
        for (kind, value) in ever {
            match kind.parse().and_then(|kind| Contact::from_canonical(kind, &value)) {
                Ok(contact) => deliveries::forget(&mut tx, tenant, digest(&contact)).await?,
                // No reason to keep the person: what was delivered to it goes when it is a month old.
                Err(_) => {
                    tracing::warn!(account.id = %id, "a contact cannot be read back, so its deliveries stay for a month");
                }
            }
        }
        execute!(tx.on(), DELETE, tenant.uuid(), id.uuid())?;
        notes::write_events(&mut tx, events).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Makes this transaction the account's only writer; `false` if there is no such account.
pub(super) async fn lock(tx: &mut Tx, tenant: TenantId, id: AccountId) -> Result<bool, StorageError> {
    let text = tx.pick(LOCK);
    Ok(fetch_optional!(tx.on(), (Uuid,), text, tenant.uuid(), id.uuid())?.is_some())
}

/// Whether a transaction that holds the account may still act on what was read before it did: the
/// account is not disabled, and its password is the one of the version `compared` (`None` where no
/// password was).
pub(super) async fn still_stands(
    tx: &mut Tx,
    tenant: TenantId,
    id: AccountId,
    compared: Option<i64>,
) -> Result<bool, StorageError> {
    let row = fetch_optional!(tx.on(), (bool, Option<i64>), STANDING, tenant.uuid(), id.uuid())?;
    Ok(row.is_some_and(|(disabled, version)| !disabled && (compared.is_none() || compared == version)))
}

/// Whether the account is still reached by a contact, read in a transaction that holds the account.
pub(super) async fn is_reached_by(
    tx: &mut Tx,
    tenant: TenantId,
    id: AccountId,
    contact: &Contact,
) -> Result<bool, StorageError> {
    let kind = contact.kind().as_str();
    let known = fetch_optional!(tx.on(), (String,), CONTACT, tenant.uuid(), id.uuid(), kind)?;
    Ok(known.is_some_and(|(value,)| value == contact.as_str()))
}

/// Sets the password, whatever it was.
pub(super) async fn put_credential(
    tx: &mut Tx,
    tenant: TenantId,
    id: AccountId,
    password_hash: &SecretString,
) -> Result<(), StorageError> {
    execute!(tx.on(), PUT_CREDENTIAL, tenant.uuid(), id.uuid(), password_hash.expose_secret()).map(drop)
}

/// Marks the address as proven; `false` if it already was.
pub(super) async fn prove_email(
    tx: &mut Tx,
    tenant: TenantId,
    id: AccountId,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let proven = execute!(tx.on(), PROVE_EMAIL, tenant.uuid(), id.uuid(), now.as_millis())?;
    execute!(tx.on(), KEEP_FOR_GOOD, tenant.uuid(), id.uuid())?;
    Ok(proven == 1)
}

/// Inserts the account and its contacts; `false` if one of them is taken (roll back then).
async fn insert(tx: &mut Tx, account: &Account, now: Timestamp) -> Result<bool, StorageError> {
    let email = account.email.as_ref().map(|email| ("email", email.as_str(), account.email_verified_at));
    let phone = account.phone.as_ref().map(|phone| ("phone", phone.as_str(), Some(account.created_at)));
    let contacts: Vec<_> = email.into_iter().chain(phone).collect();
    let tenant = account.tenant.uuid();
    for (kind, value, _) in &contacts {
        execute!(tx.on(), DELETE_LAPSED, tenant, *kind, *value, now.as_millis())?;
    }
    execute!(
        tx.on(),
        INSERT,
        tenant,
        account.id.uuid(),
        account.username.as_deref(),
        account.first_name.as_deref(),
        account.last_name.as_deref(),
        account.phone_as_given.as_deref(),
        account.locale.map(Locale::tag),
        account.disabled,
        account.created_at.as_millis(),
        account.unverified_until.map(Timestamp::as_millis),
        account.test,
    )?;
    for (kind, value, proven) in contacts {
        let proven = proven.map(Timestamp::as_millis);
        if execute!(tx.on(), INSERT_CONTACT, tenant, kind, value, account.id.uuid(), proven)? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

row! {
    pub(super) struct AccountRow {
        tenant_id: Uuid,
        pub(super) id: Uuid,
        username: Option<String>,
        first_name: Option<String>,
        last_name: Option<String>,
        phone_as_given: Option<String>,
        locale: Option<String>,
        disabled: bool,
        test: bool,
        created_at: i64,
        unverified_until: Option<i64>,
        email: Option<String>,
        email_verified_at: Option<i64>,
        phone: Option<String>,
        password_hash: Option<String>,
        pub(super) password_version: Option<i64>,
    }
}

impl AccountRow {
    pub(super) fn into_account(self) -> Result<(Account, Option<Credential>), StorageError> {
        let corrupt = |_| StorageError::corrupt("contacts.value");
        let read = |kind, value: Option<String>| {
            value.map(|value| Contact::from_canonical(kind, &value)).transpose().map_err(corrupt)
        };
        let email = match read(ContactKind::Email, self.email)? {
            Some(Contact::Email(email)) => Some(email),
            _ => None,
        };
        let phone = match read(ContactKind::Phone, self.phone)? {
            Some(Contact::Phone(phone)) => Some(phone),
            _ => None,
        };
        let account = Account {
            tenant: self.tenant_id.into(),
            id: self.id.into(),
            email,
            email_verified_at: self.email_verified_at.map(Timestamp::from_millis),
            phone,
            phone_as_given: self.phone_as_given,
            username: self.username,
            first_name: self.first_name,
            last_name: self.last_name,
            locale: self.locale.as_deref().and_then(Locale::from_tag),
            disabled: self.disabled,
            test: self.test,
            created_at: Timestamp::from_millis(self.created_at),
            unverified_until: self.unverified_until.map(Timestamp::from_millis),
        };
        let credential = self.password_hash.zip(self.password_version);
        let credential =
            credential.map(|(hash, version)| Credential { password_hash: SecretString::from(hash), version });
        Ok((account, credential))
    }
}
