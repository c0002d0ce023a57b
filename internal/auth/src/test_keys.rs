//! Keys for tests, generated anew by every test process; none is ever stored.

use std::sync::LazyLock;

use rcgen::{
    CertificateParams, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    SignatureAlgorithm,
};
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPublicKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::rand_core::OsRng;

/// Both halves of a key, as PEM (PKCS 8 and SPKI).
#[derive(Debug, Clone, Copy)]
pub struct TestKeyPair {
    /// The private half, in PKCS 8.
    pub private: &'static str,
    /// The public half, in SPKI.
    pub public: &'static str,
}

static RSA_KEY: LazyLock<RsaPrivateKey> = LazyLock::new(|| rsa_key(2048));

/// An RSA key of 2048 bits.
pub static RSA: LazyLock<TestKeyPair> = LazyLock::new(|| rsa(&RSA_KEY));
/// The public half of [`RSA`] in the older form (PKCS 1).
pub static RSA_PKCS1: LazyLock<&'static str> = LazyLock::new(|| {
    RSA_KEY
        .to_public_key()
        .to_pkcs1_pem(LineEnding::LF)
        .expect("PEM")
        .leak()
});
/// Another RSA key of 2048 bits.
pub static OTHER_RSA: LazyLock<TestKeyPair> = LazyLock::new(|| rsa(&rsa_key(2048)));
/// An RSA key that is too small.
pub static RSA_1024: LazyLock<TestKeyPair> = LazyLock::new(|| rsa(&rsa_key(1024)));
/// A key on the curve P-256.
pub static P256: LazyLock<TestKeyPair> = LazyLock::new(|| pair(&PKCS_ECDSA_P256_SHA256));
/// A key on the curve P-384.
pub static P384: LazyLock<TestKeyPair> = LazyLock::new(|| pair(&PKCS_ECDSA_P384_SHA384));
/// An Ed25519 key.
pub static ED25519: LazyLock<TestKeyPair> = LazyLock::new(|| pair(&PKCS_ED25519));
/// A certificate, which is no key.
pub static CERTIFICATE: LazyLock<&'static str> = LazyLock::new(|| {
    let key = rcgen::KeyPair::from_pem(P256.private).expect("our own");
    let certificate =
        CertificateParams::new(["test".to_owned()]).and_then(|params| params.self_signed(&key));
    certificate.expect("a certificate").pem().leak()
});

fn rsa_key(bits: usize) -> RsaPrivateKey {
    RsaPrivateKey::new(&mut OsRng, bits).expect("a key")
}

fn rsa(key: &RsaPrivateKey) -> TestKeyPair {
    let private = key.to_pkcs8_pem(LineEnding::LF).expect("PEM").to_string();
    let public = key
        .to_public_key()
        .to_public_key_pem(LineEnding::LF)
        .expect("PEM");
    TestKeyPair {
        private: private.leak(),
        public: public.leak(),
    }
}

fn pair(algorithm: &'static SignatureAlgorithm) -> TestKeyPair {
    let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
    TestKeyPair {
        private: key.serialize_pem().leak(),
        public: key.public_key_pem().leak(),
    }
}

/// The public half of a key on a curve without a supported algorithm.
pub const P521_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAkYRYG3DXD8ALW4H9jkz73nAVCbR+
is75lu04SvGKBksNO6kKBj+iLFtd/7yxOrpN6mzhF1nCiqQVz9P9tDyaKMAA1ZlB
SCojy50Oa90mrHHMNWIWYy4fEVNcxrItPTMWw3HC+/fZ7JG3aDz365jzpW1bosEW
3tAQPU+LZLOOFYSt4mI=
-----END PUBLIC KEY-----
";

/// A public key as long as one on P-256, but on another curve.
pub const SECP256K1_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEzlnedRqU0mkVG67/CYgKpE/yK63jFv0/
Ug2AnFZSoOYgVTC5xfK4S+Zf8rrXQhy2kMNmQSY0EAL0AbSiIhJ8Dg==
-----END PUBLIC KEY-----
";
