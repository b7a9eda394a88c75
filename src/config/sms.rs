//! `[[delivery.sms]]`: the platform's SMS providers, in their order, for tenants whose mode is `platform`.
//!
//! Their members are those of a tenant's own senders (`sms.senders` of the settings document), and they are
//! read as that document is: what is legal there is legal here, under the same names. Credentials stand here
//! in the clear, so the list as a whole is a secret, and may come from a file.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};

use super::problems::Findings;
use crate::domain::policy::{Policy, Profile};
use crate::domain::settings::document::{self, Place};
use crate::domain::settings::{BadSetting, Sealed, Settings, SmsSender};
use crate::domain::time::Timestamp;
use crate::secret::{ExposeSecret as _, SecretString};

/// Where the providers' members stand in a settings document.
const IN_DOCUMENT: &str = "sms.senders";

/// Where they stand here.
const KEY: &str = "delivery.sms";

/// The platform's SMS providers, as they were given.
#[derive(Debug, Clone)]
pub struct SmsProviders(SecretString);

impl SmsProviders {
    /// The providers in their order, with every credential closed by `seal`.
    ///
    /// # Errors
    /// Every member that is missing or cannot be taken, by its key.
    pub fn read(&self, seal: impl FnMut(Place<'_>, &str) -> Option<Sealed>) -> Result<Vec<SmsSender>, Vec<BadSetting>> {
        let document = json!({"sms": {"senders": self.given()}});
        let settings = document::taken_in(&Settings::default(), document, seal)
            .map_err(|faults| Self::by_key(faults.into_iter().map(BadSetting::from).collect()))?;
        // Of a policy only these settings can be wrong.
        Policy::with(Profile::Classic, &settings).map_err(Self::by_key)?;
        if settings.sms.senders.is_empty() {
            return Err(vec![BadSetting { path: KEY.into(), reason: "names no provider".to_owned() }]);
        }
        Ok(settings.sms.senders)
    }

    /// Members of a settings document by the keys they have here: `sms.senders[0].from` is
    /// `delivery.sms[0].from`.
    #[must_use]
    pub fn by_key(bad: Vec<BadSetting>) -> Vec<BadSetting> {
        let by_key = |BadSetting { path, reason }: BadSetting| {
            let rest = path.strip_prefix(IN_DOCUMENT).unwrap_or_default();
            BadSetting { path: format!("{KEY}{rest}").into(), reason }
        };
        bad.into_iter().map(by_key).collect()
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        let closed = || Sealed { sealed: String::new(), updated_at: Timestamp::from_millis(0) };
        for BadSetting { path, reason } in self.read(|_, _| Some(closed())).err().unwrap_or_default() {
            findings.add(path, reason);
        }
    }

    fn given(&self) -> Value {
        serde_json::from_str(self.0.expose_secret()).unwrap_or_default()
    }
}

/// Tables, or the same as JSON: what a variable and a file can hold.
impl<'de> Deserialize<'de> for SmsProviders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The words cite nothing: a credential may stand in what was given.
        let wanted = || de::Error::custom("must be tables [[delivery.sms]], or a list of them in JSON");
        let given = match Value::deserialize(deserializer).map_err(|_| wanted())? {
            Value::String(text) => serde_json::from_str(&text).map_err(|_| wanted())?,
            given => given,
        };
        if given.is_array() { Ok(Self(given.to_string().into())) } else { Err(wanted()) }
    }
}

/// For people: credentials are only ever present or absent.
impl Serialize for SmsProviders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = self.given();
        for provider in shown.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            let hide = |value: &mut Value| *value = Value::from("[REDACTED]");
            for member in SmsSender::CREDENTIALS {
                provider.get_mut(*member).into_iter().for_each(hide);
            }
            let headers = provider.get_mut("headers").and_then(Value::as_object_mut);
            headers.into_iter().flat_map(serde_json::Map::values_mut).for_each(hide);
        }
        shown.serialize(serializer)
    }
}
