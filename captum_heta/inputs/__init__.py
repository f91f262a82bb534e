"""Inputs for Captum's LLM interface: texts, chats and retrieved documents, which know their places in the prompt."""

from captum_heta.inputs.chat import ChatInput
from captum_heta.inputs.documents import DocumentsInput
from captum_heta.inputs.text import LocatedInput, TextInput

__all__ = ["ChatInput", "DocumentsInput", "LocatedInput", "TextInput"]
