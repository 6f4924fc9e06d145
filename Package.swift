// swift-tools-version: 6.2
import PackageDescription

/// Every target: Swift 6 mode, the upcoming features that make imports and existentials explicit, warnings as errors.
let house: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .treatAllWarnings(as: .error),
]

/// Rooms that wrap no C object: unsafe code there is an error, not a habit.
let safeHouse: [SwiftSetting] = house + [.strictMemorySafety()]

let package = Package(
  name: "kcopyfs",
  products: [
    .library(name: "KCopy", targets: ["KCopy"]),
    .executable(name: "kcopyfs", targets: ["kcopyfs"]),
    .executable(name: "kcopy-workload", targets: ["kcopy-workload"]),
    .executable(name: "idle-fuse", targets: ["idle-fuse"]),
    .executable(name: "mount-client", targets: ["mount-client"]),
    .executable(name: "plain-copy", targets: ["plain-copy"]),
    .executable(name: "power-disk", targets: ["power-disk"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-crypto.git", from: "4.0.0"),
  ],
  targets: [
    .systemLibrary(name: "CFuse3", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),
    .systemLibrary(name: "CUring", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
    .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
    .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
    .target(name: "CSystemShims"),

    .target(name: "Locking", dependencies: ["CSystemShims"], swiftSettings: safeHouse),
    .target(name: "URing", dependencies: ["CUring", "CXXHash", "CSystemShims"], swiftSettings: house),
    .target(
      name: "KCopy", dependencies: ["URing", "Locking", "CSystemShims", .product(name: "Crypto", package: "swift-crypto")],
      swiftSettings: safeHouse),
    .target(name: "Admission", dependencies: ["KCopy", "Locking", "CSystemShims"], swiftSettings: safeHouse),
    .target(name: "Journal", dependencies: ["CSQLite", "Locking", "CSystemShims"], swiftSettings: safeHouse),
    .target(name: "CopyJobs", dependencies: ["KCopy", "Admission", "Journal", "Locking", "CSystemShims"], swiftSettings: safeHouse),
    .target(name: "FuseKit", dependencies: ["CFuse3", "Locking", "CSystemShims"], swiftSettings: house),
    .target(name: "JobFS", dependencies: ["CopyJobs", "KCopy", "FuseKit", "Locking"], swiftSettings: safeHouse),
    .executableTarget(
      name: "kcopyfs",
      dependencies: [
        "JobFS", "CopyJobs", "FuseKit", "Journal", "KCopy", "CSystemShims",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: safeHouse),

    .executableTarget(
      name: "kcopy-workload",
      dependencies: ["KCopy", "Locking", .product(name: "ArgumentParser", package: "swift-argument-parser")],
      path: "Tests/Benchmarks/Workload", swiftSettings: safeHouse),
    // What the mount is measured against, and by.
    .executableTarget(
      name: "idle-fuse", dependencies: ["CFuse3"], path: "Tests/Benchmarks/IdleFuse", cSettings: [.treatAllWarnings(as: .error)]),
    .executableTarget(name: "mount-client", path: "Tests/Benchmarks/MountClient", cSettings: [.treatAllWarnings(as: .error)]),
    // What its jobs are measured against.
    .executableTarget(
      name: "plain-copy", dependencies: ["CUring", "CSQLite"], path: "Tests/Benchmarks/PlainCopy",
      cSettings: [.treatAllWarnings(as: .error)]),

    // What the crash tests copy to.
    .executableTarget(name: "power-disk", dependencies: ["CFuse3"], path: "Tests/PowerDisk", cSettings: [.treatAllWarnings(as: .error)]),

    .target(name: "FaultKit", dependencies: ["CSystemShims"], path: "Tests/FaultKit", swiftSettings: house),
    .testTarget(name: "URingTests", dependencies: ["URing", "CSystemShims"], swiftSettings: house),
    .testTarget(
      name: "KCopyTests",
      dependencies: ["KCopy", "URing", "FaultKit", "Locking", "CSystemShims", .product(name: "Crypto", package: "swift-crypto")],
      swiftSettings: house),
    .testTarget(name: "KCopyExampleTests", dependencies: ["KCopy", "FaultKit", "Locking", "CSystemShims"], swiftSettings: house),
    .testTarget(name: "AdmissionTests", dependencies: ["Admission", "KCopy", "Locking", "FaultKit", "CSystemShims"], swiftSettings: house),
    .testTarget(name: "JournalTests", dependencies: ["Journal", "Locking", "FaultKit", "CSQLite", "CSystemShims"], swiftSettings: house),
    .testTarget(
      name: "CopyJobsTests", dependencies: ["CopyJobs", "KCopy", "Admission", "Journal", "Locking", "FaultKit"], swiftSettings: house),
    .testTarget(name: "FuseKitTests", dependencies: ["FuseKit", "FaultKit", "Locking", "CSystemShims"], swiftSettings: house),
    .testTarget(name: "JobFSTests", dependencies: ["JobFS", "CopyJobs", "KCopy", "FuseKit", "FaultKit"], swiftSettings: house),
    .testTarget(name: "kcopyfsTests", dependencies: ["kcopyfs", "FaultKit"], swiftSettings: house),
    .testTarget(name: "MountTests", dependencies: ["FaultKit", "kcopyfs"], swiftSettings: house),
  ]
)

// What mount-scripts/fuzz builds. Only with libFuzzer can it be linked, so a plain build doesn't know of it.
if Context.environment["KCOPYFS_FUZZ"] != nil {
  package.targets += [
    .systemLibrary(name: "CFuzzer", path: "Tests/Fuzz/CFuzzer"),
    .executableTarget(
      name: "kcopyfs-fuzz", dependencies: ["CFuzzer", "Admission", "CopyJobs", "JobFS", "KCopy", "Journal"], path: "Tests/Fuzz",
      exclude: ["CFuzzer"],
      swiftSettings: house, linkerSettings: [.unsafeFlags(["-sanitize=address,fuzzer", "-use-ld=lld"])]),
  ]
}
