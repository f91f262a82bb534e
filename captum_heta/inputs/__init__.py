"""Inputs for Captum's LLM interface: texts, chats, documents and pictures, which know their places in the prompt."""

from captum_heta.inputs.chat import ChatInput
from captum_heta.inputs.documents import DocumentsInput
from captum_heta.inputs.media import MediaInput
from captum_heta.inputs.text import LocatedInput, TextInput

__all__ = ["ChatInput", "DocumentsInput", "LocatedInput", "MediaInput", "TextInput"]
