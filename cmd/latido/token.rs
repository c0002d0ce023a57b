//! `latido token`.

use std::io::Write;

use anyhow::Context;
use latido::auth::{Passport, Secret, Verifier, VerifierConfig, issue};
use latido::clock::Clock;
use latido::config::Settings;

use crate::cli::TokenWish;

/// Prints a token, and nothing else, so that it can be piped.
pub(crate) fn print(settings: &Settings, wish: TokenWish) -> anyhow::Result<()> {
    let config = &settings.auth.verifier;
    let secret = config.secrets.first().context("JWT_SECRET is missing")?;
    writeln!(std::io::stdout(), "{}", token(secret, config, wish)?)?;
    Ok(())
}

/// A token that a server with the same settings accepts; what it would refuse is refused here already.
fn token(secret: &Secret, config: &VerifierConfig, wish: TokenWish) -> anyhow::Result<String> {
    let passport = Passport {
        user: wish.user,
        negocios: wish.negocio,
        role: wish.rol,
        issuer: config.issuer.clone(),
        audience: config.audience.clone(),
    };
    let clock = Clock::system();
    let token = issue(secret, &passport, &clock, wish.expires_in)?;
    // Without the issuer's key set, which has no part in this and would want a root certificate.
    let own = VerifierConfig {
        jwks_url: None,
        ..config.clone()
    };
    let verdict = Verifier::new(&own, clock)?.verify_now(&token);
    verdict
        .context("the token can't be checked")?
        .context("the server would refuse this token")?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wish(user: &str, negocio: &[&str]) -> TokenWish {
        let negocio = negocio.iter().map(ToString::to_string).collect();
        TokenWish {
            user: user.into(),
            negocio,
            rol: None,
            expires_in: Duration::from_secs(60),
        }
    }

    #[test]
    fn what_the_server_would_refuse_is_not_printed() {
        let secret = Secret::new("s".repeat(32));
        let config = VerifierConfig {
            secrets: vec![secret.clone()],
            audience: Some("latido".into()),
            ..VerifierConfig::default()
        };
        assert_eq!(
            token(&secret, &config, wish("ana", &["1", "2"]))
                .unwrap()
                .split('.')
                .count(),
            3
        );
        for (user, negocio) in [("", "1"), ("ana", ""), ("a\nb", "1")] {
            let error = format!(
                "{:#}",
                token(&secret, &config, wish(user, &[negocio])).unwrap_err()
            );
            assert!(
                error.contains("would refuse this token: the token's claim"),
                "{error}"
            );
        }
        assert!(
            token(&secret, &config, wish("ana", &["x"; 9_000])).is_err(),
            "too long a token"
        );
    }
}
