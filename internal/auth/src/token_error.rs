//! The reasons for which a token is rejected.

/// The reason a token was rejected. It contains no part of the token but the name of a claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The request has no token.
    #[error("a token is required")]
    Missing,
    /// Not a JWT: too long, not three parts, not base64url, not JSON, a duplicate member, or a
    /// critical extension that is not supported.
    #[error("not a valid JSON Web Token")]
    Malformed,
    /// No configured key made this signature.
    #[error("the token's signature is wrong")]
    Signature,
    /// The time of `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// The time of `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Claim `iss` is not the configured issuer.
    #[error("the token was issued by someone else")]
    Issuer,
    /// Claim `aud` does not contain the configured audience.
    #[error("the token is meant for someone else")]
    Audience,
    /// A claim is missing or has the wrong type.
    #[error("the token's claim {claim:?} must be {expected}")]
    Claims {
        /// The claim's name, from the fixed rules or the configuration.
        claim: String,
        /// The expected type of the claim.
        expected: &'static str,
    },
    /// The algorithm is `none`, unknown, or not one of the key's.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// The issuer's key set has no key with that id.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The issuer has revoked the token.
    #[error("the token has been revoked")]
    Revoked,
    /// The issuer could not be queried about revocation; the token may be valid.
    #[error("whether the token was revoked can't be asked now")]
    Unconfirmed,
    /// The issuer's key set could not be fetched yet; the token may be valid.
    #[error("the keys to check the token are not available now")]
    KeysUnavailable,
    /// The sender sent too many invalid tokens that are costly to check; this one was not checked.
    #[error("too many invalid tokens from this address")]
    TooManyInvalid,
}

/// The result of a check that must not wait: `None` if only a check with I/O can tell.
pub type Immediate<T> = Option<Result<T, TokenError>>;

impl TokenError {
    /// Returns whether the same token may be accepted later, because it could not be checked now.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unconfirmed | Self::KeysUnavailable | Self::TooManyInvalid
        )
    }

    /// Returns the metric's label, one of a closed list.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims { .. } => "claims",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Revoked => "revoked",
            Self::Unconfirmed => "unconfirmed",
            Self::KeysUnavailable => "keys_unavailable",
            Self::TooManyInvalid => "token_rate",
        }
    }
}
