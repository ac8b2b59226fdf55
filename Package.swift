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
        .library(
            name: "Tallystick", targets: ["TallyCore", "TallyStore", "TallyAudit", "TallyRuntime"]),
        .library(name: "TallyCommand", targets: ["TallyCommand"]),
        .executable(name: "tally", targets: ["TallyMain"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
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
            name: "TallyRuntime", dependencies: ["TallyCore", "TallyStore", "TallyAudit"],
            swiftSettings: settings),
        .target(name: "TallyVenue", dependencies: ["TallyCore"], swiftSettings: settings),
        .target(
            name: "TallyCommand",
            dependencies: [
                "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "TallyMain",
            dependencies: [
                "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime", "TallyVenue",
                "TallyCommand",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "LMDBTests", dependencies: ["LMDB", "CCRC32C"], swiftSettings: settings),
        .testTarget(
            name: "TallyCoreTests", dependencies: ["TallyCore", "CCRC32C"],
            swiftSettings: settings),
        .testTarget(
            name: "TallyStoreTests", dependencies: ["TallyCore", "TallyStore", "LMDB"],
            swiftSettings: settings),
        .testTarget(
            name: "TallyRuntimeTests",
            dependencies: ["TallyCore", "TallyStore", "TallyAudit", "TallyRuntime", "TallyVenue"],
            swiftSettings: settings),
        .testTarget(
            name: "TallyAuditTests",
            dependencies: ["TallyCore", "TallyStore", "TallyAudit", "TallyRuntime", "TallyVenue"],
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
