//! Unmasking in place (RFC 6455 section 5.3).

/// Applies the mask by XOR. `offset` is the position of `bytes` in the payload.
pub(super) fn apply(bytes: &mut [u8], mask: [u8; 4], offset: usize) {
    let mut rotated = mask;
    rotated.rotate_left(offset % 4);
    // Four bytes at a time, which the compiler turns into vector instructions.
    let mut words = bytes.chunks_exact_mut(4);
    for word in &mut words {
        for (byte, m) in word.iter_mut().zip(rotated) {
            *byte ^= m;
        }
    }
    for (byte, m) in words.into_remainder().iter_mut().zip(rotated) {
        *byte ^= m;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_split_unmasks_like_the_whole(payload: Vec<u8>, mask: [u8; 4], at: prop::sample::Index) {
            let expected: Vec<u8> = payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]).collect();
            let mut whole = payload.clone();
            apply(&mut whole, mask, 0);
            prop_assert_eq!(&whole, &expected);
            let mut parts = payload;
            let at = at.index(parts.len() + 1);
            let (left, right) = parts.split_at_mut(at);
            apply(left, mask, 0);
            apply(right, mask, at);
            prop_assert_eq!(&parts, &expected);
        }
    }
}
