//! The scripts: one call per verdict, each the twin of a pure function.
//!
//! A script takes one key and one JSON object and answers JSON, so the domain's own serde types
//! are the wire form. It is called by its digest and sent whole only when Redis does not know it
//! (first use, restart, fail-over): by `EVAL` under the same key, which a cluster routes to the
//! node that lacks it.

use std::sync::LazyLock;

use ::redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, cmd};

use super::link::Link;

/// One script, ready to be called.
pub(super) struct Script(::redis::Script, &'static str);

impl Script {
    fn new(text: &'static str) -> Self {
        Self(::redis::Script::new(text), text)
    }

    /// Runs on the book under `key`; the reply is JSON.
    pub(super) async fn run(&self, link: &Link, key: &str, ask: &str) -> Result<String, RedisError> {
        match link.query(&Self::call("EVALSHA", self.0.get_hash(), key, ask)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                link.query(&Self::call("EVAL", self.1, key, ask)).await
            }
            reply => reply,
        }
    }

    fn call(verb: &str, script: &str, key: &str, ask: &str) -> Cmd {
        let mut command = cmd(verb);
        command.arg(script).arg(1).arg(key).arg(ask);
        command
    }
}

macro_rules! scripts {
    ($($name:ident = [$($part:literal),+];)*) => {$(
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!(concat!("../scripts/", $part, ".lua")), "\n"),+)));
    )*};
}

scripts! {
    EPOCH = ["prelude", "epoch"];
    RESERVE = ["prelude", "attempt_book", "reserve"];
    SETTLE = ["prelude", "attempt_book", "settle"];
    SEED = ["prelude", "attempt_book", "seed"];
    CLEAR = ["prelude", "attempt_book", "clear"];
    LIFT = ["prelude", "attempt_book", "lift"];
    SEND_CODE = ["prelude", "code_book", "send_code"];
    GIVE_BACK_SEND = ["prelude", "code_book", "give_back_send"];
    GUESS_CODE = ["prelude", "code_book", "guess_code"];
    CONSUME_CODE = ["prelude", "code_book", "consume_code"];
    COUNT_MAIL = ["prelude", "count_mail"];
    PUT_GRANT = ["prelude", "put_grant"];
    TAKE_GRANT = ["prelude", "take_grant"];
    REVOKE = ["prelude", "revoke"];
    REVOCATIONS = ["prelude", "revocations"];
}
