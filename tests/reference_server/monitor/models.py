from django.db import models
from django.db.models import Q


class Service(models.Model):
    """What to sample, with which plugin of the client, how often."""

    name = models.CharField(max_length=64)
    plugin_name = models.CharField(max_length=64)
    interval = models.PositiveIntegerField(help_text="seconds")

    def __str__(self):
        return self.name


class Trigger(models.Model):
    """Raised while the mean of an item over the newest reports of a service is above a bound."""

    service_name = models.CharField(max_length=64)
    item = models.CharField(max_length=64)
    reports = models.PositiveIntegerField()
    above = models.FloatField()


class Template(models.Model):
    """A set of services that is given to hosts and to groups as a whole."""

    name = models.CharField(max_length=64, unique=True)
    services = models.ManyToManyField(Service)
    triggers = models.ManyToManyField(Trigger, blank=True)

    def __str__(self):
        return self.name


class HostGroup(models.Model):
    name = models.CharField(max_length=64, unique=True)
    templates = models.ManyToManyField(Template, blank=True)

    def __str__(self):
        return self.name


class Host(models.Model):
    """A monitored machine; its primary key is the client's id."""

    name = models.CharField(max_length=64, unique=True)
    groups = models.ManyToManyField(HostGroup, blank=True)
    templates = models.ManyToManyField(Template, blank=True)

    def __str__(self):
        return self.name

    def services(self):
        """Name -> [plugin, interval]. The host's own templates win over those of its groups."""
        merged = {}
        of_groups = Template.objects.filter(hostgroup__host=self)
        for templates in (of_groups, self.templates):
            for template in templates.order_by("id").distinct():
                for service in template.services.order_by("id"):
                    merged[service.name] = [service.plugin_name, service.interval]
        return merged

    def triggers(self, service_name):
        """Those of all its templates that look at this service."""
        templates = Template.objects.filter(
            Q(host=self) | Q(hostgroup__host=self)
        ).distinct()
        return Trigger.objects.filter(
            template__in=templates, service_name=service_name
        ).distinct()


class ServiceReport(models.Model):
    """One report as a client sent it."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE)
    service_name = models.CharField(max_length=64)
    data = models.JSONField()
    # Fields beside the three that every client of this family sends. A form's values are strings.
    extra = models.JSONField()
    received = models.DateTimeField(auto_now_add=True)
