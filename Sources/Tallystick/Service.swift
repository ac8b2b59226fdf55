#if ServiceLifecycle
    public import ServiceLifecycle
    public import TallyRuntime

    /// A live ledger is a service: it runs until a graceful shutdown or a cancellation, and then closes in
    /// good order, so that every shard's mark says "clean".
    ///
    ///     let group = ServiceGroup(
    ///         services: [live, application], gracefulShutdownSignals: [.sigterm], logger: logger)
    ///     try await group.run()
    ///
    /// In that order: the group shuts its services down from the last to the first, so the application
    /// stops performing commands before the ledger closes.
    extension LiveLedger: Service {
        public func run() async throws {
            // Both ends of the waiting, a shutdown and a cancellation, lead to the same place.
            try? await gracefulShutdown()
            await close()
        }
    }
#endif
