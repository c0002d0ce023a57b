//! Why a token opens nothing.

/// Why a token was refused. Never holds any part of the token but the name of a claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("a token is required")]
    Missing,
    /// Not a JWT: too long, not three parts, not base64url, not JSON, a member twice, or an extension we must understand and don't.
    #[error("not a valid JSON Web Token")]
    Malformed,
    /// No key of ours made this signature.
    #[error("the token's signature is wrong")]
    Signature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is not the one configured.
    #[error("the token was issued by someone else")]
    Issuer,
    /// `aud` does not hold the one configured.
    #[error("the token is meant for someone else")]
    Audience,
    /// A claim is missing or of the wrong type.
    #[error("the token's claim {claim:?} must be {expected}")]
    Claims {
        /// Its name, from our rules or our configuration.
        claim: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// `none`, unknown, or an algorithm that is not the key's.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// The issuer's key set has no key of that id.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The issuer says so.
    #[error("the token has been revoked")]
    Revoked,
    /// The issuer could not be asked whether it was revoked; the token may be good.
    #[error("whether the token was revoked can't be asked now")]
    Unconfirmed,
    /// The issuer's key set could not be fetched yet; the token may be good.
    #[error("the keys to check the token are not available now")]
    KeysUnavailable,
}

impl TokenError {
    /// Whether the same token may open the same door later: somebody who must be asked can't be asked now.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unconfirmed | Self::KeysUnavailable)
    }

    /// The metric's label: a closed list.
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
        }
    }
}
