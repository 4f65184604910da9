use crate::{
    frame::{ANSWER_BYTES_MAX, Answer, LENGTH_BYTES, Lane, RefusalCode},
    inbox::DisconnectReason,
    peer::Peer,
    queue::{self, Queue},
};
use bytes::Bytes;
use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use std::{io, pin::pin, sync::Arc, time::Duration};
use tokio::time::timeout;

/// What is taken from the queue at once.
const GROUP_BYTES: usize = 64 << 10;
/// Frames up to this are gathered into one write with their neighbours: yamux and noise make a message of each write.
const GATHERED_BYTES_MAX: usize = 4 << 10;
/// What is gathered at most.
const WRITE_BYTES: usize = 16 << 10;
/// How long a peer's reason is waited for after a write failed.
const REASON_WAIT: Duration = Duration::from_millis(200);

/// Waits for the peer's answer to a lane that we opened.
pub(crate) async fn knock<S: AsyncRead + Unpin>(
    mut stream: S,
    wait: Duration,
) -> Result<S, Option<RefusalCode>> {
    match timeout(wait, answer(&mut stream)).await {
        Ok(Ok(Answer::Ready)) => Ok(stream),
        Ok(Ok(Answer::Refused(code))) => Err(Some(code)),
        Ok(Err(_)) | Err(_) => Err(None),
    }
}

async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Answer> {
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > ANSWER_BYTES_MAX {
        return Ok(Answer::Refused(RefusalCode::Unknown));
    }
    let mut text = [0; ANSWER_BYTES_MAX];
    stream.read_exact(&mut text[..length]).await?;
    Ok(Answer::decode(&text[..length]))
}

/// Writes what the queue gets, until the lane ends.
pub(crate) async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    queue: Arc<Queue>,
    peer: Arc<Peer>,
    lane: Lane,
) -> DisconnectReason {
    let (mut reader, mut writer) = stream.split();
    let mut back = pin!(answer(&mut reader));
    let reason = |answer: io::Result<Answer>| match answer {
        Ok(Answer::Refused(code)) => DisconnectReason::Refused(code),
        Ok(Answer::Ready) | Err(_) => DisconnectReason::Closed,
    };
    let mut gathered = Vec::new();
    loop {
        let group = tokio::select! {
            biased;
            answer = &mut back => return reason(answer),
            group = queue.take(GROUP_BYTES) => group,
        };
        let written = tokio::select! {
            biased;
            written = write(&mut writer, &group, &mut gathered) => written,
            answer = &mut back => return reason(answer),
        };
        if written.is_err() {
            return timeout(REASON_WAIT, back).await.map_or(DisconnectReason::Closed, reason);
        }
        peer.counters(lane).sent(group.len(), group.iter().map(Bytes::len).sum());
        queue.release(group.iter().map(queue::cost).sum());
    }
}

async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    frames: &[Bytes],
    gathered: &mut Vec<u8>,
) -> io::Result<()> {
    gathered.clear();
    for frame in frames {
        let length = u32::try_from(frame.len()).expect("Config::check bounds a frame");
        gathered.extend_from_slice(&length.to_be_bytes());
        if frame.len() <= GATHERED_BYTES_MAX {
            gathered.extend_from_slice(frame);
        }
        if frame.len() > GATHERED_BYTES_MAX || gathered.len() >= WRITE_BYTES {
            writer.write_all(gathered).await?;
            gathered.clear();
        }
        if frame.len() > GATHERED_BYTES_MAX {
            writer.write_all(frame).await?;
        }
    }
    writer.write_all(gathered).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::io::Cursor;

    #[tokio::test]
    async fn garbage_instead_of_an_answer_is_a_refusal_and_reserves_nothing() {
        for (bytes, expected) in [
            (vec![0xff; 100], Some(RefusalCode::Unknown)),
            (vec![0, 0, 0, 5, b'H', b'E', b'L', b'L', b'O'], Some(RefusalCode::Unknown)),
            (vec![0, 0, 0, 5, b'R'], None),
            (Vec::new(), None),
        ] {
            let found = knock(Cursor::new(bytes), Duration::from_secs(60)).await;
            assert_eq!(found.err(), Some(expected));
        }
    }

    #[tokio::test]
    async fn small_frames_are_gathered_and_large_ones_are_not_touched() {
        let frames = [Bytes::from(vec![1; 10]), Bytes::from(vec![2; 5_000]), Bytes::from(vec![3; 10])];
        let (mut out, mut gathered) = (Cursor::new(Vec::new()), Vec::new());
        write(&mut out, &frames, &mut gathered).await.expect("memory takes all");
        let expected: Vec<u8> = frames
            .iter()
            .flat_map(|frame| [&u32::try_from(frame.len()).expect("short").to_be_bytes()[..], frame].concat())
            .collect();
        assert_eq!(out.into_inner(), expected);
    }
}
