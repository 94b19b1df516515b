"""A service that Envoy can ask, with a policy that has something of everything."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.ratelimit.envoy.edge_service import Edge, edge_service

POLICY = """\
version: 1
plans: {basic: {}, pro: {}}
limits:
  - {name: address, endpoints: [address], default: 5/h}
  - {name: chat, endpoints: [/api/chat], default: 3/min, plans: {basic: 3/min, pro: 6/min}}
  - {name: twofold, endpoints: [twofold], default: 3/s 10/h}
  - {name: free, endpoints: [free], default: unlimited}
  - {name: watched, endpoints: [watched], default: 1/h, shadow: true}
  - {name: monthly, endpoints: [monthly], default: 9/month, algorithm: fixed_window}
  - {name: api, endpoints: ["*"], default: 100/5min}
budgets:
  - {name: tokens, measure: tokens, default: 1000/d}
envoy:
  - domain: edge
    descriptors:
      - {key: remote_address, rule: address}
      - key: user
        descriptors:
          - {key: path, endpoint: "{path}", subject: "user:{user}"}
          - {key: tier, rule: chat, subject: "user:{user}", plan: "{tier}"}
          - {key: tokens, rule: tokens, subject: "user:{user}", charge: always}
      - {key: twofold, rule: twofold}
      - {key: free, rule: free}
      - {key: watched, rule: watched}
      - {key: monthly, rule: monthly}
      - {key: generic_key, value: login, rule: address}
      - {key: generic_key, value: home, exempt: true}
  - domain: other
    tenant: globex
    descriptors:
      - {key: remote_address, rule: address}
"""


@pytest.fixture
async def edge(redis_url: str) -> AsyncIterator[Edge]:
    """Serve for one test."""
    async with edge_service(redis_url, POLICY) as edge:
        yield edge
