//! Verifies tokens: their signature, their claims and their revocation.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, AlgorithmFamily};

use crate::claims::{ClaimRules, ClaimSet};
use crate::introspection::{IntrospectionConfig, Introspector};
use crate::jwk::KeySet;
use crate::jwks::Jwks;
use crate::key::{self, VerifyingKey};
use crate::signature::{decode_claims, read_header};
use crate::token_sender::InvalidTokenLimit;
use crate::{
    Immediate, JwksTimings, KeyError, Principal, Secret, TokenError, TokenSender, VerifiedToken,
};
use latido_base::clock::Clock;
use latido_base::drain::Drain;

/// The published keys that are tried for one token. A signature of a public key takes up to 0.7 ms,
/// and a token that names no key may be anybody's.
const MAX_TRIED_KEYS: usize = 4;

/// The keys, and the claims that tokens must have.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The HMAC secrets: the current one, and the previous one while its tokens are still valid.
    pub secrets: Vec<Secret>,
    /// True to accept secrets shorter than [`MIN_SECRET_BYTES`](crate::MIN_SECRET_BYTES).
    pub allow_weak_secrets: bool,
    /// One or more public keys in PEM.
    pub public_keys: Option<String>,
    /// The URL of the issuer's key set.
    pub jwks_url: Option<String>,
    /// The intervals at which the key set is fetched.
    pub jwks_timings: JwksTimings,
    /// The issuer's introspection endpoint. With `None`, tokens are valid until they expire.
    pub introspection: Option<IntrospectionConfig>,
    /// The required value of claim `iss`.
    pub issuer: Option<String>,
    /// The audience that claim `aud` must be or contain.
    pub audience: Option<String>,
    /// The streams' `key_field`s: a claim with such a name grants the keys in it. `negocio_id`
    /// (with `negocios`) is always one; names with a meaning of their own (`id`, `sub`, `exp`, …)
    /// never are.
    pub key_fields: Vec<String>,
    /// The claims that may hold the user's id; the first one present counts. Empty means `id`,
    /// `user_id`, `sub`.
    pub user_claims: &'static [&'static str],
    /// The claims that may hold the device or session; the first one present counts. Empty means
    /// that none is read.
    pub session_claims: &'static [&'static str],
    /// True if principals keep all claims of their tokens, because a stream's `authorize` query
    /// takes them.
    pub keeps_claims: bool,
}

impl Config {
    /// Returns whether there is any key, or a place to get keys from.
    pub fn has_keys(&self) -> bool {
        !self.secrets.is_empty() || self.public_keys.is_some() || self.jwks_url.is_some()
    }
}

/// Verifies tokens. Clones share the keys and the caches.
#[derive(Debug, Clone)]
pub struct Verifier {
    keys: Arc<[VerifyingKey]>,
    jwks: Option<Arc<Jwks>>,
    introspector: Option<Arc<Introspector>>,
    rules: Arc<ClaimRules>,
    clock: Clock,
    invalid_limit: Arc<InvalidTokenLimit>,
}

/// The result of checking a token with the keys at hand.
enum KeyMatch<T> {
    Final(Result<T, TokenError>),
    /// A newer key set may give another result.
    KeyUnknown(TokenError),
}

impl Verifier {
    /// Creates a verifier with the configured keys.
    ///
    /// # Errors
    /// Returns the error of the first key that is not usable. Without any key, every token is
    /// rejected.
    pub fn new(config: &Config, clock: Clock) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for secret in &config.secrets {
            keys.push(VerifyingKey::from_secret(
                secret,
                config.allow_weak_secrets,
            )?);
        }
        if let Some(pem) = &config.public_keys {
            keys.extend(key::public_keys(pem)?);
        }
        let jwks = config
            .jwks_url
            .as_deref()
            .map(|url| Jwks::new(url, config.jwks_timings).map(Arc::new))
            .transpose()?;
        let introspector = config
            .introspection
            .as_ref()
            .map(|config| Introspector::new(config).map(Arc::new))
            .transpose()?;
        let rules = ClaimRules::new(
            config.issuer.clone(),
            config.audience.clone(),
            &config.key_fields,
        );
        let rules = rules.with_claim_names(config.user_claims, config.session_claims);
        rules.set_stream_claims(&config.key_fields, config.keeps_claims);
        Ok(Self {
            keys: keys.into(),
            jwks,
            introspector,
            rules: Arc::new(rules),
            clock,
            invalid_limit: Arc::default(),
        })
    }

    /// Counts invalid tokens together with another verifier of the server, so that a sender has one
    /// limit for all of its entry points.
    #[must_use]
    pub fn with_limit_of(self, other: &Self) -> Self {
        Self {
            invalid_limit: Arc::clone(&other.invalid_limit),
            ..self
        }
    }

    /// Sets which claims grant keys, and whether principals keep all claims, for tokens that are
    /// verified from now on; see [`Config::key_fields`] and [`Config::keeps_claims`].
    pub fn set_stream_claims(&self, key_fields: &[String], keeps_claims: bool) {
        self.rules.set_stream_claims(key_fields, keeps_claims);
    }

    /// Starts the tasks that query the issuer for its key set and about revoked tokens, if
    /// configured. Must be called once, in the runtime.
    pub fn start(&self, drain: &Drain) {
        if let Some(jwks) = &self.jwks {
            jwks.start(drain);
        }
        if let Some(introspector) = &self.introspector {
            introspector.start(drain);
        }
    }

    /// Returns whether tokens can be verified. `false` only before the issuer's key set has
    /// arrived, if no other key is configured.
    pub fn is_ready(&self) -> bool {
        !self.keys.is_empty()
            || self
                .jwks
                .as_ref()
                .is_none_or(|jwks| !jwks.subscribe().borrow().is_empty())
    }

    /// Verifies a token and returns its principal. Waits, a few seconds at most, only if the issuer
    /// must be queried for its key set or about revocation.
    ///
    /// # Errors
    /// The reason for the rejection; see [`TokenError`].
    pub async fn verify(&self, token: &str, sender: &TokenSender) -> Result<Principal, TokenError> {
        let principal = self
            .verify_signed(token, sender, |claims| self.principal(claims))
            .await?;
        match &self.introspector {
            Some(introspector) => Ok(principal.with_revocation(introspector.check(token).await?)),
            None => Ok(principal),
        }
    }

    /// Verifies a token for an app. `user_claims` are the claims that may hold the app's user; the
    /// first one present counts.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    pub async fn verify_claims(
        &self,
        token: &str,
        sender: &TokenSender,
        user_claims: &[&str],
    ) -> Result<VerifiedToken, TokenError> {
        let read = |claims: &ClaimSet| {
            self.rules
                .verified_token(claims, self.clock.unix_s(), user_claims)
        };
        let VerifiedToken {
            user,
            principal,
            claims,
        } = self.verify_signed(token, sender, read).await?;
        let principal = match &self.introspector {
            Some(introspector) => principal.with_revocation(introspector.check(token).await?),
            None => principal,
        };
        Ok(VerifiedToken {
            user,
            principal,
            claims,
        })
    }

    /// Synchronous variant of [`Verifier::verify_claims`] for tokens of a shared secret. Returns
    /// `None` for all others, as [`Verifier::try_verify`].
    pub fn try_verify_claims(&self, token: &str, user_claims: &[&str]) -> Immediate<VerifiedToken> {
        if let Err(error) = read_header(token) {
            return Some(Err(error));
        }
        let read = |claims: &ClaimSet| {
            self.rules
                .verified_token(claims, self.clock.unix_s(), user_claims)
        };
        let VerifiedToken {
            user,
            principal,
            claims,
        } = match self.try_check(token, read)? {
            Ok(opened) => opened,
            Err(error) => return Some(Err(error)),
        };
        Some(
            self.with_cached_revocation(token, Ok(principal))?
                .map(|principal| VerifiedToken {
                    user,
                    principal,
                    claims,
                }),
        )
    }

    fn principal(&self, claims: &ClaimSet) -> Result<Principal, TokenError> {
        self.rules.principal(claims, self.clock.unix_s())
    }

    /// Adds the cached revocation state to a valid token's principal. Returns `None` if the issuer
    /// must be queried.
    fn with_cached_revocation(
        &self,
        token: &str,
        verified: Result<Principal, TokenError>,
    ) -> Immediate<Principal> {
        match (&self.introspector, verified) {
            (Some(introspector), Ok(principal)) => introspector
                .cached(token)
                .map(|known| known.map(|state| principal.with_revocation(state))),
            (_, verified) => Some(verified),
        }
    }

    async fn verify_signed<T>(
        &self,
        token: &str,
        sender: &TokenSender,
        read: impl Fn(&ClaimSet) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let header = read_header(token)?;
        let is_costly = self.tries_many_keys(&header);
        if is_costly && !self.invalid_limit.allows(sender) {
            return Err(TokenError::TooManyInvalid);
        }
        let mut newest = self.jwks.as_ref().map(|jwks| jwks.subscribe());
        let keys = newest.as_mut().map(|keys| keys.borrow_and_update().clone());
        let first = self.check(token, &header, &keys.unwrap_or_default(), &read);
        // It is counted before the wait, so that tokens at the same time are not checked beyond the
        // limit.
        if is_costly && !matches!(first, KeyMatch::Final(Ok(_))) {
            self.invalid_limit.count(sender);
        }
        let (Some(jwks), Some(mut newest)) = (&self.jwks, newest) else {
            return first.into_result();
        };
        match first {
            KeyMatch::Final(result) => result,
            KeyMatch::KeyUnknown(error) if !jwks.wait_for_refresh(&mut newest).await => Err(error),
            KeyMatch::KeyUnknown(_) => {
                let keys = newest.borrow().clone();
                self.check(token, &header, &keys, &read).into_result()
            }
        }
    }

    /// Returns whether several public keys would be tried for a token with this header, since it
    /// names none of them. Invalid ones are limited by sender: they cost milliseconds, and anybody
    /// can make them.
    fn tries_many_keys(&self, (algorithm, kid): &(Algorithm, Option<String>)) -> bool {
        if algorithm.family() == AlgorithmFamily::Hmac {
            return false;
        }
        let published = self.jwks.as_ref().map(|jwks| jwks.subscribe());
        let published = published.as_ref().map(|keys| keys.borrow());
        let named = published.iter().any(|keys| keys.has_key(kid.as_deref()));
        let candidates = published
            .iter()
            .flat_map(|keys| keys.candidates(kid.as_deref()));
        let accepting = |key: &&VerifyingKey| key.algorithms.contains(algorithm);
        !named && self.keys.iter().chain(candidates).filter(accepting).count() > 1
    }

    /// Verifies a token without waiting. Returns `None` if only [`Verifier::verify`] can decide.
    pub fn try_verify_cached(&self, token: &str) -> Immediate<Principal> {
        let header = match read_header(token) {
            Ok(header) => header,
            Err(error) => return Some(Err(error)),
        };
        let read = |claims: &ClaimSet| self.principal(claims);
        let Some(jwks) = &self.jwks else {
            return self.with_cached_revocation(
                token,
                self.check(token, &header, &KeySet::default(), &read)
                    .into_result(),
            );
        };
        let keys = jwks.subscribe().borrow().clone();
        match self.check(token, &header, &keys, &read) {
            KeyMatch::KeyUnknown(_) if jwks.can_fetch() => None,
            result => self.with_cached_revocation(token, result.into_result()),
        }
    }

    /// Verifies a token of a shared secret, which takes microseconds. Returns `None` for all
    /// others: a public key's signature takes a hundred times as long, so threads with other
    /// clients waiting leave it to [`Verifier::verify`].
    pub fn try_verify(&self, token: &str) -> Immediate<Principal> {
        self.with_cached_revocation(
            token,
            self.try_check(token, |claims| self.principal(claims))?,
        )
    }

    fn try_check<T>(
        &self,
        token: &str,
        read: impl Fn(&ClaimSet) -> Result<T, TokenError>,
    ) -> Immediate<T> {
        let header = read_header(token).ok()?;
        let is_cheap = header.0.family() == AlgorithmFamily::Hmac;
        is_cheap.then(|| {
            self.check(token, &header, &KeySet::default(), &read)
                .into_result()
        })
    }

    fn check<T>(
        &self,
        token: &str,
        header: &(Algorithm, Option<String>),
        published: &KeySet,
        read: &impl Fn(&ClaimSet) -> Result<T, TokenError>,
    ) -> KeyMatch<T> {
        let (algorithm, kid) = header;
        let error = match decode_claims(token, *algorithm, self.keys.iter(), usize::MAX) {
            Ok(claims) => return KeyMatch::Final(read(&claims)),
            Err(error) => error,
        };
        if self.jwks.is_none()
            || algorithm.family() == AlgorithmFamily::Hmac
            || error == TokenError::Malformed
        {
            return KeyMatch::Final(Err(error));
        }
        let candidates = published.candidates(kid.as_deref());
        if candidates.clone().next().is_none() {
            return KeyMatch::KeyUnknown(if published.is_empty() {
                TokenError::KeysUnavailable
            } else {
                TokenError::UnknownKey
            });
        }
        let is_named = kid.is_some() && candidates.clone().any(|key| key.id == *kid);
        match decode_claims(token, *algorithm, candidates, MAX_TRIED_KEYS) {
            Ok(claims) => KeyMatch::Final(read(&claims)),
            // The result of a key with that very id is final; any other key may have been replaced
            // meanwhile.
            Err(error) if is_named => KeyMatch::Final(Err(error)),
            Err(error) => KeyMatch::KeyUnknown(error),
        }
    }
}

impl<T> KeyMatch<T> {
    fn into_result(self) -> Result<T, TokenError> {
        match self {
            Self::Final(result) => result,
            Self::KeyUnknown(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
