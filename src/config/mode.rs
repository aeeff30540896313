//! Floor 0. The words that a setting may have; each enum knows its words, and they are those of the file.

/// One list gives the variants, their words and the way back.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in the config file, in logs and in metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The value that the word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl super::value::Word for $name {
            fn all() -> &'static [Self] { Self::ALL }
            fn word(self) -> &'static str { self.as_str() }
        }
    };
}

words! {
    /// When does a client keep its server?
    PoolMode {
        /// For one transaction.
        Transaction = "transaction",
        /// From login to logout.
        Session = "session",
        /// For one statement; BEGIN is refused.
        Statement = "statement",
    }
}

words! {
    /// TLS as libpq's `sslmode`; `[listen] tls` knows only disable, prefer, require and verify-ca.
    TlsMode {
        /// Never.
        Disable = "disable",
        /// Only if the peer insists.
        Allow = "allow",
        /// If the peer can.
        Prefer = "prefer",
        /// Always; the certificate is not checked.
        Require = "require",
        /// Always; the certificate must lead to a known authority.
        VerifyCa = "verify-ca",
        /// As verify-ca, and it must name the host.
        VerifyFull = "verify-full",
    }
}

words! {
    /// Whether a login is tied to the TLS connection it runs over; libpq's `channel_binding`.
    ChannelBinding {
        /// Never.
        Disable = "disable",
        /// If the server offers it.
        Prefer = "prefer",
        /// Or there is no login.
        Require = "require",
    }
}

words! {
    /// How a client proves who it is.
    AuthMethod {
        /// Not at all.
        Trust = "trust",
        /// The password in clear text.
        Password = "password",
        /// The md5 challenge.
        Md5 = "md5",
        /// SCRAM-SHA-256.
        ScramSha256 = "scram-sha-256",
        /// A client certificate whose common name is the user.
        Cert = "cert",
        /// Over a Unix socket: the system user has the same name.
        Peer = "peer",
        /// Nothing helps.
        Reject = "reject",
    }
}

impl AuthMethod {
    /// Is something compared with what is stored of the user?
    pub fn needs_password(self) -> bool {
        match self {
            Self::Password | Self::Md5 | Self::ScramSha256 => true,
            Self::Trust | Self::Cert | Self::Peer | Self::Reject => false,
        }
    }
}

words! {
    /// Which idle server is taken next?
    IdleOrder {
        /// The one used last: few stay hot, the others reach `idle_timeout`.
        Lifo = "lifo",
        /// Each in its turn.
        RoundRobin = "round-robin",
    }
}

words! {
    /// Whether clients that use currval or lastval keep their server after an INSERT that drew a number.
    Currval {
        /// Those that were seen to use them.
        Auto = "auto",
        /// All.
        Pin = "pin",
        /// None.
        Off = "off",
    }
}

words! {
    /// Which statements share server-side plans?
    PlansMode {
        /// None: statements are prepared where and as the client did.
        Off = "off",
        /// What the client prepares by protocol.
        Named = "named",
        /// Also simple queries whose literals are proven parameters.
        Auto = "auto",
    }
}

words! {
    /// Whether results are kept.
    CacheMode {
        /// No.
        Off = "off",
        /// Count what would hit, serve nothing.
        Observe = "observe",
        /// Yes.
        On = "on",
    }
}

words! {
    /// How writes made elsewhere arrive.
    Feed {
        /// LISTEN.
        Notify = "notify",
        /// A table that is polled.
        Outbox = "outbox",
        /// Not at all: only writes through this pgdial and ttl count.
        Off = "off",
    }
}

words! {
    /// What ends an entry's life.
    Freshness {
        /// Invalidation and ttl.
        Strict = "strict",
        /// Only ttl.
        Ttl = "ttl",
    }
}

words! {
    /// The shape of a log line.
    LogFormat {
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
    }
}

words! {
    /// The least important line that is still logged.
    LogLevel {
        /// Only errors.
        Error = "error",
        /// And warnings.
        Warn = "warn",
        /// And what an operator wants to see.
        Info = "info",
        /// And one line per client session.
        Debug = "debug",
        /// And every decision with its reason.
        Trace = "trace",
    }
}
