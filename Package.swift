// swift-tools-version: 6.2
import PackageDescription

/// Set by tools/check: a warning is an error there, and only there.
let warningsAreErrors = Context.environment["TALLY_WARNINGS_AS_ERRORS"] != nil

let settings: [SwiftSetting] =
    [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .strictMemorySafety(),
    ] + (warningsAreErrors ? [.treatAllWarnings(as: .error)] : [])

let package = Package(
    name: "tallystick",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "Tallystick", targets: ["Tallystick"]),
        .library(name: "TallystickTesting", targets: ["TallystickTesting"]),
        .library(name: "TallyCommand", targets: ["TallyCommand"]),
        .executable(name: "tally", targets: ["TallyMain"]),
    ],
    traits: [
        .trait(
            name: "ServiceLifecycle",
            description: "A live ledger is a Service of swift-service-lifecycle."),
        .trait(
            name: "Tracing",
            description: "Correlations carry the trace of swift-distributed-tracing."),
        .default(enabledTraits: ["ServiceLifecycle", "Tracing"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
        .package(
            url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .systemLibrary(
            name: "CLMDB", pkgConfig: "lmdb",
            providers: [.apt(["liblmdb-dev"]), .brew(["lmdb"])]),
        .target(name: "CCRC32C"),
        .target(name: "LMDB", dependencies: ["CLMDB"], swiftSettings: settings),
        .target(name: "TallyCore", dependencies: ["CCRC32C"], swiftSettings: settings),
        .target(
            name: "TallyStore",
            dependencies: [
                "TallyCore", "LMDB", "CCRC32C", .product(name: "Crypto", package: "swift-crypto"),
            ],
            swiftSettings: settings),
        .target(
            name: "TallyAudit", dependencies: ["TallyCore", "TallyStore"], swiftSettings: settings),
        .target(
            name: "TallyRuntime",
            dependencies: [
                "TallyCore", "TallyStore", "TallyAudit",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "CoreMetrics", package: "swift-metrics"),
            ],
            swiftSettings: settings),
        .target(
            name: "Tallystick",
            dependencies: [
                "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime",
                .product(
                    name: "ServiceLifecycle", package: "swift-service-lifecycle",
                    condition: .when(traits: ["ServiceLifecycle"])),
                .product(
                    name: "Tracing", package: "swift-distributed-tracing",
                    condition: .when(traits: ["Tracing"])),
            ],
            swiftSettings: settings),
        .target(
            name: "TallystickTesting",
            dependencies: ["TallyCore", "TallyStore", "TallyAudit", "TallyRuntime"],
            swiftSettings: settings),
        .target(name: "TallyVenue", dependencies: ["TallyCore"], swiftSettings: settings),
        .target(
            name: "TallySimulator",
            dependencies: [
                "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime", "TallyVenue",
            ],
            swiftSettings: settings),
        .target(
            name: "TallyCommand",
            dependencies: [
                "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "TallyMain",
            dependencies: [
                "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime", "TallyVenue",
                "TallySimulator", "TallyCommand",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "CoreMetrics", package: "swift-metrics"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "TallyExample", dependencies: ["Tallystick", "TallyCommand"],
            swiftSettings: settings),
        // The crash rig, see tools/crash/README.md.
        .executableTarget(
            name: "CrashRig",
            dependencies: [
                "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime", "TallyVenue", "LMDB",
            ],
            path: "tools/crash/rig", swiftSettings: settings),
        .testTarget(
            name: "LMDBTests", dependencies: ["LMDB", "CCRC32C"], swiftSettings: settings),
        .testTarget(
            name: "TallyCoreTests", dependencies: ["TallyCore", "CCRC32C"],
            swiftSettings: settings),
        .testTarget(
            name: "TallyStoreTests",
            dependencies: ["TallyCore", "TallyStore", "LMDB", "TallystickTesting"],
            swiftSettings: settings),
        .testTarget(
            name: "TallyRuntimeTests",
            dependencies: [
                "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime", "TallyVenue",
                "TallystickTesting",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "MetricsTestKit", package: "swift-metrics"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "TallyAuditTests",
            dependencies: ["TallyCore", "TallyStore", "TallyAudit", "TallyRuntime", "TallyVenue"],
            swiftSettings: settings),
        .testTarget(
            name: "TallystickTests",
            dependencies: [
                "Tallystick", "TallyExample",
                .product(name: "Logging", package: "swift-log"),
                .product(
                    name: "ServiceLifecycle", package: "swift-service-lifecycle",
                    condition: .when(traits: ["ServiceLifecycle"])),
                .product(
                    name: "Tracing", package: "swift-distributed-tracing",
                    condition: .when(traits: ["Tracing"])),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "TallystickTestingTests",
            dependencies: [
                "TallystickTesting", "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime",
                "TallyVenue",
            ],
            swiftSettings: settings),
        .testTarget(
            name: "TallySimulatorTests",
            dependencies: [
                "TallySimulator", "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime",
                "TallyVenue",
            ],
            swiftSettings: settings),
        .testTarget(
            name: "TallyVenueTests", dependencies: ["TallyCore", "TallyVenue"],
            swiftSettings: settings),
        .testTarget(
            name: "TallyCommandTests",
            dependencies: [
                "TallyCore", "TallyStore", "TallyAudit", "TallyCommand", "TallyVenue", "TallyMain",
            ],
            swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
