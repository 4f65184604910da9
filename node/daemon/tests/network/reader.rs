//! What a client reads of the past.

use crate::load::Mark;
use mainstem_client::{Client, ClientError, ResendOptions, ResendRange};
use mainstem_model::StreamPartition;

/// The numbered events of a resend, in its order.
pub(crate) async fn history(
    client: &Client,
    at: StreamPartition,
    range: ResendRange,
) -> Result<Vec<Mark>, ClientError> {
    let mut events = client.resend(ResendOptions::new(at, range)).await?;
    let mut marks = Vec::new();
    while let Some(event) = events.next().await {
        marks.extend(Mark::read(event?.content()));
    }
    Ok(marks)
}
