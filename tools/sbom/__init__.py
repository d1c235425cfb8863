"""What the image holds, as a CycloneDX document: a tool of the build, no part of the service."""
