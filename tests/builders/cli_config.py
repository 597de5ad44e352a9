"""Configs of endpoints as the API tells them, for the commands that edit them."""

from __future__ import annotations

from typing import Any

NEW = {"name": "churn-4", "entity_name": "churn", "entity_version": "4"}


def config(**shares: float) -> dict[str, Any]:
    """Return a config as the API tells it, from served entity names (with _ for -) to shares."""
    names = {name.replace("_", "-"): share for name, share in shares.items()}
    return {
        "served_entities": [
            {
                "id": f"id-{name}",
                "name": name,
                "entity_name": name.rpartition("-")[0],
                "entity_version": name.rpartition("-")[2],
                "environment_vars": {"A": "{{secrets/s/k}}"},
                "state": {"deployment": "DEPLOYMENT_READY"},
                "creator": "admin",
            }
            for name in names
        ],
        "traffic_config": {
            "routes": [{"served_entity_name": name, "traffic_percentage": share} for name, share in names.items()]
        },
        "config_version": 4,
    }


def routes(body: dict[str, Any]) -> dict[str, float]:
    return {route["served_entity_name"]: route["traffic_percentage"] for route in body["traffic_config"]["routes"]}
