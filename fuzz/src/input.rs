//! The input format of the targets that decode a stream: the first byte is the number of segments,
//! then comes a byte for the length of each segment, then the stream.

/// The lengths of the segments and the stream; `None` for an empty input.
pub(crate) fn segments_and_stream(data: &[u8]) -> Option<(Vec<usize>, &[u8])> {
    let (&number, data) = data.split_first()?;
    let (lengths, stream) = data.split_at(usize::from(number).min(data.len()));
    Some((lengths.iter().map(|&length| length.into()).collect(), stream))
}
