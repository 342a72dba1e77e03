"""Which nodes are ours, and taking them out of the scene again."""

from __future__ import annotations

ROLE = "DeepReg2D3D.Role"


def tag(node, role: str, helper: bool = True):
    """Mark a node as ours. Helpers are hidden from the user's lists and not saved with the scene. Returns the node."""
    node.SetAttribute(ROLE, role)
    if helper:
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
    return node


def add(scene, class_name: str, name: str, role: str, helper: bool = True):
    """A new node of ours in the scene."""
    node = scene.CreateNodeByClass(class_name)
    if node is None:
        raise RuntimeError(f"This Slicer has no {class_name}.")
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(name))
    tag(node, role, helper)
    return scene.AddNode(node)


def tagged(scene, role: str | None = None) -> list:
    """Our nodes in the scene, of one role or of all."""
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    roles = [(node, node.GetAttribute(ROLE)) for node in nodes]
    return [node for node, found in roles if found is not None and role in (None, found)]


def remove(scene, *nodes) -> None:
    """Take nodes out of the scene, with their display and storage nodes; None and nodes that are gone are skipped."""
    for node in nodes:
        if node is None or node.GetScene() is not scene:
            continue
        others = []
        for count, get in (
            ("GetNumberOfDisplayNodes", "GetNthDisplayNode"),
            ("GetNumberOfStorageNodes", "GetNthStorageNode"),
        ):
            if hasattr(node, count):
                others += [getattr(node, get)(index) for index in range(getattr(node, count)())]
        scene.RemoveNode(node)
        for other in others:
            if other is not None and other.GetScene() is scene:
                scene.RemoveNode(other)


def remove_all(scene) -> None:
    """Take every helper node of ours out; X-rays, poses and records that belong to the user stay."""
    remove(scene, *(node for node in tagged(scene) if not node.GetSaveWithScene()))
