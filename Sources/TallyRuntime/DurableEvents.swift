public import TallyAudit
internal import TallyCore

/// A running shard's events from an offset on, each once and in order, as soon as they are durable.
///
/// A read model lives on it: fold each event into a table of your own, keep the offset beside it in the
/// same transaction, and begin behind that offset next time. Nothing is skipped and nothing is
/// repeated, however slow the reader is: events are read from the log in pages as they are asked for
/// (at most 1,024 events or 1 MiB at once), so a slow reader holds no one up and takes no memory.
///
/// The sequence ends when the ledger closes. It throws why the shard stopped, behind its last event.
public struct DurableEvents: AsyncSequence, Sendable {
    public typealias Element = RecordedEvent

    let feed: LogFeed
    let first: Offset

    public func makeAsyncIterator() -> Iterator { Iterator(feed: feed, next: first) }

    public struct Iterator: AsyncIteratorProtocol {
        let feed: LogFeed
        var next: Offset
        private var page: ArraySlice<RecordedEvent> = []

        init(feed: LogFeed, next: Offset) {
            self.feed = feed
            self.next = next
        }

        /// The next event; waits for it.
        ///
        /// - Throws: ``TallyCore/Refusal`` once the shard has stopped, ``TallyStore/StoreError`` when the
        ///   log cannot be read, `CancellationError`.
        public mutating func next() async throws -> RecordedEvent? {
            if page.isEmpty {
                guard let events = try await feed.page(from: next) else { return nil }
                page = events[...]
            }
            guard let event = page.popFirst() else { return nil }
            next = Offset(event.offset.rawValue + 1)
            return event
        }
    }
}
