//! The subcommand `latido token`, which signs test tokens.

use std::io::Write;

use anyhow::Context;
use latido::config::Settings;
use latido_auth::{Secret, TokenSpec, Verifier, VerifierConfig, issue};
use latido_base::clock::Clock;

use crate::cli::TokenArgs;

/// Prints only the token, so that it can be piped.
pub(crate) fn print(settings: &Settings, args: TokenArgs) -> anyhow::Result<()> {
    let config = &settings.verifier;
    let secret = config.secrets.first().context("JWT_SECRET is missing")?;
    writeln!(std::io::stdout(), "{}", signed_token(secret, config, args)?)?;
    Ok(())
}

/// Signs a token that a server with the same settings accepts, and checks it in the same way.
fn signed_token(
    secret: &Secret,
    config: &VerifierConfig,
    args: TokenArgs,
) -> anyhow::Result<String> {
    let spec = TokenSpec {
        user: args.user,
        negocios: args.negocio,
        role: args.rol,
        issuer: config.issuer.clone(),
        audience: config.audience.clone(),
        claims: args.claim,
    };
    let clock = Clock::system();
    let token = issue(secret, &spec, &clock, args.expires_in)?;
    // Without the issuer's key set: it is not needed here and would require root certificates.
    let local_config = VerifierConfig {
        jwks_url: None,
        ..config.clone()
    };
    let verified = Verifier::new(&local_config, clock)?.try_verify_cached(&token);
    verified
        .context("the token cannot be checked")?
        .context("the server would refuse this token")?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn token_args(user: &str, negocio: &[&str]) -> TokenArgs {
        let negocio = negocio.iter().map(ToString::to_string).collect();
        TokenArgs {
            user: user.into(),
            negocio,
            rol: None,
            claim: Vec::new(),
            expires_in: Duration::from_secs(60),
        }
    }

    #[test]
    fn token_that_the_server_would_refuse_is_not_printed() {
        let secret = Secret::new("s".repeat(32));
        let config = VerifierConfig {
            secrets: vec![secret.clone()],
            audience: Some("latido".into()),
            ..VerifierConfig::default()
        };
        assert_eq!(
            signed_token(&secret, &config, token_args("ana", &["1", "2"]))
                .unwrap()
                .split('.')
                .count(),
            3
        );
        for (user, negocio) in [("", "1"), ("ana", ""), ("a\nb", "1")] {
            let error = format!(
                "{:#}",
                signed_token(&secret, &config, token_args(user, &[negocio])).unwrap_err()
            );
            assert!(
                error.contains("would refuse this token: the token's claim"),
                "{error}"
            );
        }
        assert!(
            signed_token(&secret, &config, token_args("ana", &["x"; 9_000])).is_err(),
            "the token is too long"
        );
    }
}
