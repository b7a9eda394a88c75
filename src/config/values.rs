//! How values that TOML has no word for are written: lengths of time, networks, secrets.
//!
//! Each module is for `#[serde(with = "…")]`.

/// A length of time above zero, as text: `"5s"`, `"300ms"`, `"30m"`.
pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(length: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*length))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let wanted = || D::Error::custom("must be a length of time with its unit, as \"5s\", \"300ms\" or \"30m\"");
        let text = String::deserialize(deserializer).map_err(|_| wanted())?;
        let length = humantime::parse_duration(&text).map_err(|_| wanted())?;
        if length.is_zero() { Err(D::Error::custom("must be longer than nothing")) } else { Ok(length) }
    }
}

/// A list of networks; a bare address is a network of one.
pub(super) mod networks {
    use std::net::IpAddr;

    use ipnet::IpNet;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(networks: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
        networks.serialize(serializer)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(|text| {
                text.parse()
                    .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                    .map_err(|_| D::Error::custom(format!("{text:?} is no network such as \"10.0.0.0/8\"")))
            })
            .collect()
    }
}

/// A secret that may be absent. Written, it is only ever present or absent.
pub(super) mod secret {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::secret::SecretString;

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(in crate::config) fn serialize<S: Serializer>(
        secret: &Option<SecretString>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(_) => serializer.serialize_str("[REDACTED]"),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SecretString>, D::Error> {
        // serde's own words would cite the value.
        Option::<String>::deserialize(deserializer)
            .map(|text| text.map(SecretString::from))
            .map_err(|_| D::Error::custom("must be a text in quotes"))
    }
}
