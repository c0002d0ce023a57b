//! Certificates of X.509 version 1, as the PostgreSQL manual's recipe makes them. The TLS library
//! reads only version 3, but where nothing is to be verified, the key alone is needed: the server
//! must still prove that it has it.

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

/// The tags of DER that occur here.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
/// The explicit version, which only later versions have.
const VERSION: u8 = 0xA0;

/// The public key of a certificate of version 1.
pub(super) struct PublicKeyV1<'a> {
    /// The whole `SubjectPublicKeyInfo`.
    pub(super) info: SubjectPublicKeyInfoDer<'a>,
    /// The contents of its `AlgorithmIdentifier`, without tag and length.
    pub(super) algorithm: &'a [u8],
    /// The key itself.
    pub(super) key: &'a [u8],
}

/// Returns the key of a certificate of version 1 (RFC 5280, 4.1), or `None` if it is of another
/// version or malformed.
pub(super) fn public_key<'a>(certificate: &'a CertificateDer<'_>) -> Option<PublicKeyV1<'a>> {
    let (mut outer, _) = read_element(certificate.as_ref(), SEQUENCE)?;
    let (mut signed, _) = read_next(&mut outer, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        return None;
    }
    read_next(&mut signed, INTEGER)?; // the serial number
    for _ in 0..4 {
        read_next(&mut signed, SEQUENCE)?; // signature, issuer, validity, subject
    }
    let (mut info, whole) = read_next(&mut signed, SEQUENCE)?;
    let (algorithm, _) = read_next(&mut info, SEQUENCE)?;
    let (bits, _) = read_next(&mut info, BIT_STRING)?;
    // The first octet counts unused bits, of which a key has none.
    let key = bits.strip_prefix(&[0])?;
    Some(PublicKeyV1 {
        info: SubjectPublicKeyInfoDer::from(whole),
        algorithm,
        key,
    })
}

/// Reads an element and moves behind it.
fn read_next<'a>(from: &mut &'a [u8], tag: u8) -> Option<(&'a [u8], &'a [u8])> {
    let (contents, whole) = read_element(from, tag)?;
    *from = &from[whole.len()..];
    Some((contents, whole))
}

/// Returns the contents of the first element, and the element with its tag and length.
fn read_element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (short, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, header) = if *short < 0x80 {
        (usize::from(*short), 2)
    } else {
        let octets = usize::from(short & 0x7F);
        // Certificates of 16 MiB do not occur.
        if octets == 0 || octets > 3 {
            return None;
        }
        let digits = rest.get(..octets)?;
        let length = digits
            .iter()
            .fold(0, |length, digit| length << 8 | usize::from(*digit));
        (length, 2 + octets)
    };
    let whole = bytes.get(..header + length)?;
    Some((&whole[header..], whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate with empty names: the version only if wanted.
    fn certificate(version: &[u8]) -> CertificateDer<'static> {
        let rest = [
            &[0x02, 1, 7][..],                                   // serial number
            &[0x30, 0, 0x30, 0, 0x30, 0, 0x30, 0],               // signature to subject
            &[0x30, 10, 0x30, 3, 0x06, 1, 42, 0x03, 3, 0, 1, 2], // key
        ]
        .concat();
        let signed = [version, &rest].concat();
        let signed = [
            &[SEQUENCE, u8::try_from(signed.len()).unwrap()],
            &signed[..],
        ]
        .concat();
        let whole = [
            &[SEQUENCE, 0x81, u8::try_from(signed.len()).unwrap()],
            &signed[..],
        ]
        .concat();
        CertificateDer::from(whole)
    }

    #[test]
    fn only_version_1_has_a_key_here() {
        let first = certificate(&[]);
        let key = public_key(&first).unwrap();
        assert_eq!((key.algorithm, key.key), (&[0x06, 1, 42][..], &[1, 2][..]));
        assert_eq!(key.info.as_ref().len(), 12);
        assert!(public_key(&certificate(&[VERSION, 3, 2, 1, 2])).is_none());
        for end in 0..first.as_ref().len() {
            let cut = CertificateDer::from(first.as_ref()[..end].to_vec());
            assert!(public_key(&cut).is_none());
        }
    }
}
