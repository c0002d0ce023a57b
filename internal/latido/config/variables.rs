//! The table of all settings. Flags, environment variables, help and documents are derived from it.

/// A setting. Its flag is its name in lower case with hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// The name of the environment variable.
    pub name: &'static str,
    /// The heading above it in the help.
    pub group: &'static str,
    /// `true` if its value must never be shown.
    pub is_secret: bool,
    /// The placeholder for its value in the help.
    pub value: &'static str,
    /// The default as shown in the help. It is empty if there is none.
    pub default: &'static str,
    /// The description shown in the help.
    pub help: &'static str,
}

impl Variable {
    /// Returns the name of the flag, without the two hyphens.
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }
}

macro_rules! variables {
    ($($group:literal { $($name:ident $kind:ident $value:literal $default:literal $help:literal;)* })*) => {
        $($(pub(super) const $name: Variable = Variable {
            name: stringify!($name),
            group: $group,
            is_secret: stringify!($kind).len() == "secret".len(),
            value: $value,
            default: $default,
            help: $help,
        };)*)*

        /// All variables, in the order of the help.
        pub const VARIABLES: &[Variable] = &[$($($name),*),*];
    };
}

variables! {
    "Database" {
        DATABASE_URL secret "URL" ""
            "The database: postgresql://user:password@host:port/database?sslmode=require. A transaction pooler (port 6543) will do";
        LISTEN_DATABASE_URL secret "URL" "DATABASE_URL"
            "The same database reached directly, for LISTEN, which does not work behind a transaction pooler";
        DATABASE_POOL_SIZE plain "N" "8"
            "Most connections for reading, the listener's own not counted";
        STATEMENT_TIMEOUT_SECONDS plain "SECONDS" "5"
            "Longest time that one statement may run";
        INTEREST_GATE plain "BOOL" "true"
            "Whether install makes triggers that stay silent about keys that nobody watches; servers work with either kind";
    }
    "Identity" {
        JWT_SECRET secret "TEXT" ""
            "Secret that signs the tokens (HS256, HS384, HS512); at least 32 random bytes (openssl rand -base64 48). There is no default";
        JWT_SECRET_PREVIOUS secret "TEXT" ""
            "The secret before: still accepted while tokens signed with it live";
        JWT_ALLOW_WEAK_SECRET plain "true|false" "false"
            "Accept a secret of less than 32 bytes, which can be guessed from a single token";
        JWT_PUBLIC_KEY secret "PEM|PATH" ""
            "Public key that verifies the tokens (RSA: RS and PS 256 to 512; EC P-256: ES256; P-384: ES384; Ed25519: EdDSA): PEM text, in which \\n may stand for a line break, or the path of a file; several keys may follow each other";
        JWT_JWKS_URL secret "URL" ""
            "Address of the issuer's key set; https, fetched every hour and when an unknown key comes up";
        JWT_ISSUER plain "TEXT" ""
            "What a token's iss must be; unset: anything";
        JWT_AUDIENCE plain "TEXT" ""
            "What a token's aud must be or hold; unset: anything";
        JWT_INTROSPECTION_URL secret "URL" ""
            "Address that says whether a token was revoked: POST {\"token\"} answers {\"valid\"}; https, asked before a token opens anything and again while it is in use; unset: tokens live until they end";
        JWT_INTROSPECTION_SECONDS plain "SECONDS" "30"
            "How long its answer counts, and so how long a revoked token may still be used";
        JWT_INTROSPECTION_FAIL_OPEN plain "true|false" "false"
            "Whether tokens count as valid while that address does not answer";
        ADMIN_ROLES plain "LIST" "admin_sistema"
            "Roles (claim rol or role) that may watch everything, separated by commas; none: no role. Safe as a default, since only who signs tokens can put a role into one";
        AUTHORIZE_CACHE_SECONDS plain "SECONDS" "10"
            "How long the database's answer about a permission counts";
    }
    "Server" {
        HOST plain "ADDRESS" "0.0.0.0; demo: 127.0.0.1"
            "Address to listen on; :: for IPv6 as well";
        PORT plain "PORT" "8080"
            "Port to listen on; 0: any that is free";
        REUSE_PORT plain "true|false" "false"
            "Let another process listen on the same port, as the next version does while this one leaves; systemd's socket activation needs no setting";
        ALLOWED_ORIGINS plain "LIST" "*"
            "Pages that may connect (https://panel.example.com), separated by commas; *: any. Any is safe, since nothing that a browser sends by itself ever authenticates";
        NOTIFY_API_KEY secret "KEY" ""
            "Key that callers of POST /notify/… must send (X-API-Key or Bearer), or sha256: and its hexadecimal hash; unset: none";
        TLS_CERT plain "PATH" ""
            "PEM file with the certificate and those between it and its authority; then the server speaks https and wss alone, and reads the files again when they change";
        TLS_KEY plain "PATH" ""
            "PEM file with the certificate's private key";
        TRUSTED_PROXIES plain "LIST" ""
            "Addresses or networks (10.0.0.0/8) of proxies whose X-Forwarded-For is believed, separated by commas; unset: none";
        METRICS plain "true|false" "true"
            "Serve GET /metrics for Prometheus";
        SHARDS plain "N" "one a core"
            "Threads that own the sockets";
        SHUTDOWN_SECONDS plain "SECONDS" "10"
            "How long clients are given to leave when the server stops";
    }
    "Streams" {
        LATIDO_CONFIG plain "PATH" ""
            "A latido.toml of streams; unset: the built-in estadisticas alone";
        TIMEZONE plain "ZONE" "UTC, with a warning"
            "IANA time zone in which «today» begins, such as America/Guayaquil, where a stream does not say another one";
        SWEEP_SECONDS plain "SECONDS" "30"
            "How often all that is watched is read again, whatever was notified";
        READ_INTERVAL_MS plain "MILLISECONDS" "50"
            "Shortest time between two reads of one key under a storm of changes; the first change is read at once";
    }
    "Apps" {
        LATIDO_APPS plain "LIST" "none"
            "Other systems to serve beside the streams, separated by commas: workspace, gateway, messaging, modules. A latido.toml can give each a port of its own ([apps.NAME])";
        GATEWAY_PORT plain "PORT" "4000"
            "App gateway: its own port, where its clients look for it; that of PORT: the main one, whose /dashboard is the operators'";
        GATEWAY_API_URL plain "URL" ""
            "App gateway: the Django API that knows whose a token is, asked at /api/v1/profile/";
        GATEWAY_API_METHOD plain "GET|POST" "GET"
            "App gateway: how it is asked";
        GATEWAY_API_TIMEOUT_SECONDS plain "SECONDS" "10"
            "App gateway: how long it may take";
        GATEWAY_API_CACHE_SECONDS plain "SECONDS" "60"
            "App gateway: how long its good word about a token counts";
        GATEWAY_ADMIN_IDS plain "LIST" ""
            "App gateway: ids of the users who may be administrators, separated by commas; the API knows no such role";
        GATEWAY_API_KEY secret "KEY" ""
            "App gateway: key that publishers and readers of the dashboard must send (X-API-Key or Bearer), or sha256: and its hexadecimal hash";
        GATEWAY_TRUSTED_CIDRS plain "LIST" ""
            "App gateway: networks that need no key, separated by commas, beside this machine itself";
        GATEWAY_TRUST_CLIENTS plain "BOOL" "false"
            "App gateway: believe clients without asking the API, as the old server did; for a migration behind a trusted network alone";
        GATEWAY_INACTIVE_MINUTES plain "MINUTES" "60"
            "App gateway: a client that neither says nor hears anything for so long is let go; 0: never";
        MESSAGING_JWT_SECRET secret "TEXT" "the server's"
            "messaging: secret that signs its tokens (HS256, HS384, HS512), at least 32 bytes. With any of its own keys the server's count no more for it";
        MESSAGING_JWT_PUBLIC_KEY secret "PEM|PATH" "the server's"
            "messaging: public key of its tokens, PEM text or the path of a file";
        MESSAGING_JWT_JWKS_URL secret "URL" "the server's"
            "messaging: address of its issuer's key set; https";
        MESSAGING_JWT_ISSUER plain "TEXT" "the server's"
            "messaging: what a token's iss must be";
        MESSAGING_JWT_AUDIENCE plain "TEXT" "the server's"
            "messaging: what a token's aud must be or hold";
        MESSAGING_DIALECT plain "head|document" "head"
            "messaging: the vocabulary of a client that has not yet shown its own (docs/apps/messaging.md)";
        MESSAGING_MESSAGES_PER_HOUR plain "N" "1000"
            "messaging: messages that one user may send in an hour, on all devices together";
        MESSAGING_TYPING_PER_HOUR plain "N" "1000"
            "messaging: how often one user may begin to type in an hour";
        MESSAGING_RETRY_SECONDS plain "SECONDS" "600"
            "messaging: how long a message with the same number and content is taken for a retry of the first";
        MESSAGING_POOL_SIZE plain "N" "8"
            "messaging: most connections to the database, beside DATABASE_POOL_SIZE";
        WORKSPACE_API_KEY secret "KEYS" ""
            "App workspace: keys that publishers must send as X-API-Key, at least 16 characters each, separated by commas; or sha256: and the hash";
        WORKSPACE_TRUST_CLIENT_IDS plain "BOOL" "false"
            "App workspace: believe the ids that a client sends without a token, as the old server did; for a migration behind a trusted network alone";
    }
    "Modules" {
        MODULES_API_KEY secret "KEY" ""
            "Key that callers of POST /api/modules/emit/… must send as X-API-Key, or sha256: and its hexadecimal hash; the app does not start without it";
        MODULES_JWT_SECRET secret "TEXT" "JWT_SECRET"
            "Secret that signs the tokens of the app's web clients, where it is not the one of the streams";
        MODULES_JWT_JWKS_URL secret "URL" "JWT_JWKS_URL"
            "Address of the key set of their issuer; with it or MODULES_JWT_SECRET the keys of the streams do not count for this app";
        MODULES_JWT_ISSUER plain "TEXT" ""
            "What iss must be in tokens of MODULES_JWT_SECRET and MODULES_JWT_JWKS_URL; unset: anything";
        MODULES_JWT_AUDIENCE plain "TEXT" ""
            "What aud must be or hold in them; unset: anything";
        MODULES_ADMIN_ROLES plain "LIST" "admin"
            "Roles (claim rol or role) that make an administrator of this app; none: no role";
        MODULES_SESSION_SECRET secret "TEXT" ""
            "Secret that signs the session cookie of express-session; unset: no cookie identifies anybody";
        MODULES_SESSION_SECRET_PREVIOUS secret "TEXT" ""
            "The secret before: still accepted while cookies signed with it live";
        MODULES_SESSION_COOKIE plain "NAME" "connect.sid"
            "Name of the session cookie";
        MODULES_SESSION_SQL plain "SQL|PATH" "connect-pg-simple's table session"
            "Statement, or the path of a file with one, that takes a session's id as $1 and gives user_id, is_admin and nickname";
        MODULES_SESSION_SECONDS plain "SECONDS" "30"
            "How long an answer about a session counts; a session that has ended ends its connections within that time";
        MODULES_ORIGINS plain "LIST" ""
            "Pages of other hosts that may use the session cookie (https://panel.example.com); pages of the same host always may";
        MODULES_TIMEZONE plain "ZONE" "TIMEZONE"
            "IANA time zone in which lastSeenFormatted is written";
        MODULES_GROUP_MS plain "MILLISECONDS" "500"
            "How long news of one kind about one module are gathered after the first; the newest goes out. 0: not at all";
        MODULES_STALE_SECONDS plain "SECONDS" "300"
            "How long a module that says nothing counts as online";
        MODULES_TRUST_CLIENTS plain "true|false" "false"
            "Believe web clients who they say they are, and modules without a password. For a closed network alone";
    }
    "Limits" {
        MAX_CONNECTIONS plain "N" "what the open-file limit allows"
            "Most open connections";
        MAX_CONNECTIONS_PER_ADDRESS plain "N" "no limit"
            "Most open connections from one address; behind a proxy all share one, unless it is among TRUSTED_PROXIES";
        MAX_CONNECTIONS_PER_USER plain "N" "no limit"
            "Most open WebSockets and event streams of one user";
        MAX_HANDSHAKES_PER_SECOND plain "N" "no limit"
            "New connections a second, on average; as many again may come at once. Beyond it they get 503, and those that are there notice nothing";
        MAX_CHANNELS plain "N" "100"
            "Most channels of one connection";
        MAX_MESSAGE_BYTES plain "BYTES" "16384"
            "Longest message from a client";
        MAX_MESSAGES_PER_SECOND plain "N" "50"
            "Messages a second from one client, on average";
        MESSAGE_BURST plain "N" "200"
            "Messages that may come at once before the average counts";
        HEARTBEAT_SECONDS plain "SECONDS" "25"
            "How often a silent client is asked whether it is there";
        HANDSHAKE_SECONDS plain "SECONDS" "5"
            "Longest time from a connection to its complete request";
        SLOW_CLIENT_SECONDS plain "SECONDS" "30"
            "How long a client may take no frame before it is let go";
    }
    "Logs" {
        RUST_LOG plain "FILTER" "info"
            "What is logged: error, warn, info, debug, trace, or per module (latido::engine=debug). Readable on a terminal, JSON otherwise";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_names_are_distinct_and_described() {
        let mut names: Vec<_> = VARIABLES.iter().map(|v| v.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), VARIABLES.len());
        assert!(
            VARIABLES
                .iter()
                .all(|v| v.help.len() > 10 && !v.help.ends_with('.'))
        );
        assert_eq!(DATABASE_URL.flag(), "database-url");
    }

    #[test]
    fn variables_that_may_hold_a_secret_are_marked() {
        let secret: Vec<_> = VARIABLES
            .iter()
            .filter(|v| v.is_secret)
            .map(|v| v.name)
            .collect();
        let expected = [
            "DATABASE_URL",
            "LISTEN_DATABASE_URL",
            "JWT_SECRET",
            "JWT_SECRET_PREVIOUS",
            "JWT_PUBLIC_KEY",
            "JWT_JWKS_URL",
            "JWT_INTROSPECTION_URL",
            "NOTIFY_API_KEY",
            "GATEWAY_API_KEY",
            "MESSAGING_JWT_SECRET",
            "MESSAGING_JWT_PUBLIC_KEY",
            "MESSAGING_JWT_JWKS_URL",
            "WORKSPACE_API_KEY",
            "MODULES_API_KEY",
            "MODULES_JWT_SECRET",
            "MODULES_JWT_JWKS_URL",
            "MODULES_SESSION_SECRET",
            "MODULES_SESSION_SECRET_PREVIOUS",
        ];
        assert_eq!(secret, expected);
    }
}
